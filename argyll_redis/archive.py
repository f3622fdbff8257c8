"""A flow's log as a document: what it looks like in a file, and reading one that may hold anything.

A header, `{argyll_export, flow_id, events}`, then every event in full, one object a line: `{id, type, at,
cause, by, tx, data}`. It can be read without the namespace that it came from, and it holds no seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NoReturn

from argyll_redis.core.audit_shape import check_shape
from argyll_redis.core.events import EVENTS, Recorded
from argyll_redis.core.limits import MAX_ID_CHARS, MAX_IMPORT_BYTES, MAX_IMPORT_EVENTS
from argyll_redis.core.model import JSON
from argyll_redis.core.parse_plan import parse_plan
from argyll_redis.core.parse_request import parse_init, parse_labels, parse_metadata, read_flow_id
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.state import Flow
from argyll_redis.core.values import shown
from argyll_redis.errors import ArgyllError, Invalid, InvalidInput, Problem, UnknownEvent
from argyll_redis.store.codec import check, encode, parse
from argyll_redis.store.protocol import StoredEvent
from argyll_redis.views import show_events

FORMAT = 1
"""Version of the format; a document of a later one is refused."""
SPARE_NESTING = 160
"""Levels of nesting allowed above that of a value: a value in a list of a list of a `for_each` step is
deeper than one that was given, and an encoder gives up at 254."""
MAX_AT_MS = 253_402_300_799_999
"""The end of the year 9999: a later time cannot be shown."""
MAX_FLOW_ID_CHARS = 4_096
"""Of a child's id, which holds those of all its parents."""

Line = str | bytes | Mapping[str, JSON]
Recorder = Callable[[StoredEvent], Recorded]
"""Makes an event of what a log holds, as whoever reads the log does."""

HEADER = {"argyll_export", "flow_id", "events"}
ENVELOPE = {"id", "type", "at", "cause", "by", "tx", "data"}
OPTIONS = {"linger_ms", "timeout_ms", "compensate"}
_TX = re.compile(r"([^\s:]+):([1-9][0-9]{0,8})/([1-9][0-9]{0,8})")
_MEND = "import what was exported, as it is"
_TOO_LARGE = f"the document has more than {MAX_IMPORT_BYTES:,} bytes"


# ---------------------------------------------------------------------- writing


def header(flow_id: str, events: int) -> dict[str, JSON]:
    """The first line of a document of so many events."""
    return {"argyll_export": FORMAT, "flow_id": flow_id, "events": events}


def lines_of(flow: Flow, events: Iterable[Recorded]) -> Iterator[dict[str, JSON]]:
    """The lines of the events that follow what was folded into a flow; folds them, too."""
    recorded = list(events)
    for shape, each in zip(show_events(flow, recorded), recorded, strict=True):
        data = shape.pop("data")
        yield {**shape, "tx": f"{each.tx}:{each.place}/{each.count}", "data": data}


# ---------------------------------------------------------------------- reading


def read_log(lines: Iterable[Line], record: Recorder) -> tuple[str, list[StoredEvent], list[Recorded]]:
    """Reads a document: the flow's id, and its events as a log holds them and as they are read.

    Each line is right by itself then; whether they make a log is for an audit to say. Raises
    `InvalidInput` that names the first line that is wrong.
    """
    found = _documents(lines)
    try:
        number, first = next(found)
    except StopIteration:
        _refuse("the document", "is empty", _MEND)
    flow_id, count = _header(f"line {number}", first)
    stored: list[StoredEvent] = []
    recorded: list[Recorded] = []
    size = 0
    for number, document in found:
        if len(stored) == count:
            _refuse(f"line {number}", f"comes after the {count:,} events that line 1 tells of", _MEND)
        event = _event(f"line {number}", len(stored) + 1, document)
        size += len(event.data)
        if size > MAX_IMPORT_BYTES:
            _refuse(f"line {number}", _TOO_LARGE)
        stored.append(event)
        recorded.append(_recorded(f"line {number}", record, event))
    if len(stored) < count:
        _refuse("the document", f"ends after {len(stored):,} of {count:,} events", "export it again")
    return flow_id, stored, recorded


def _refuse(place: str, what: str, mend: str = "") -> NoReturn:
    raise InvalidInput(problems=[Problem(place, what, mend)])


def _documents(lines: Iterable[Line]) -> Iterator[tuple[int, Any]]:
    """Each line that is not blank as plain JSON, with its number."""
    size = 0
    for number, line in enumerate(lines, 1):
        if isinstance(line, str | bytes):
            size += len(line)
            if size > MAX_IMPORT_BYTES:
                _refuse(f"line {number}", _TOO_LARGE)
            if not line.strip():
                continue
        try:
            is_text = isinstance(line, str | bytes)
            document = parse(line, spare=SPARE_NESTING) if is_text else check(line, spare=SPARE_NESTING)
        except InvalidInput as error:
            raise _placed(f"line {number}", error) from None
        yield number, document


def _placed(place: str, error: Invalid) -> InvalidInput:
    """What is wrong with a line, said of that line."""
    problems = [Problem(f"{place}: {p.path}" if p.path else place, p.what, p.mend) for p in error.problems]
    return InvalidInput(problems=problems or [Problem(place, str(error))])


def _fields(place: str, document: Any, expected: set[str], what: str) -> dict[str, Any]:
    if not isinstance(document, dict) or document.keys() != expected:
        _refuse(place, f"is not {what}, an object with {', '.join(sorted(expected))}", _MEND)
    return document


def _is_number(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most


def _header(place: str, document: Any) -> tuple[str, int]:
    given = document.get("argyll_export") if isinstance(document, dict) else None
    if _is_number(given, FORMAT + 1, 1_000_000):
        _refuse(place, f"the format is {given}, and this version knows {FORMAT}", "use a newer argyll")
    found = _fields(place, document, HEADER, "the header of an export")
    if given != FORMAT or type(given) is not int:
        _refuse(f"{place}: argyll_export", "is not the version of a format", _MEND)
    if not _is_number(found["events"], 1, 2**53):
        _refuse(f"{place}: events", "is not how many events there are", _MEND)
    if found["events"] > MAX_IMPORT_EVENTS:
        _refuse(f"{place}: events", f"are {found['events']:,}, and {MAX_IMPORT_EVENTS:,} can be imported")
    return _flow_id(place, found["flow_id"]), found["events"]


def _flow_id(place: str, given: Any) -> str:
    try:
        id = read_flow_id(given)
    except ArgyllError:
        _refuse(f"{place}: flow_id", "is not the id of a flow", "use a-z 0-9 _ . - +")
    root, _, child = id.partition(":")
    if not root or len(root) > MAX_ID_CHARS or len(child) > MAX_FLOW_ID_CHARS:
        _refuse(f"{place}: flow_id", "is not the id of a flow", f"use 1 to {MAX_ID_CHARS} characters")
    return id


def _event(place: str, version: int, document: Any) -> StoredEvent:
    found = _fields(place, document, ENVELOPE, "an event")
    if found["id"] != f"{version}-0":
        _refuse(f"{place}: id", f"is not {version}-0, which comes next", _MEND)
    tx = _TX.fullmatch(found["tx"]) if isinstance(found["tx"], str) else None
    if tx is None:
        _refuse(f"{place}: tx", "is not <transaction>:<i>/<n>", _MEND)
    for name, most in (("at", MAX_AT_MS), ("cause", version - 1)):
        if not _is_number(found[name], int(name == "at"), most):
            _refuse(f"{place}: {name}", "is not what it can be", _MEND)
    if not isinstance(found["by"], str) or not found["by"].isprintable():
        _refuse(f"{place}: by", "is not an origin", _MEND)
    kind, data = _kind(place, found["type"]), found["data"]
    if not isinstance(data, dict):
        _refuse(f"{place}: data", "is not an object", _MEND)
    if kind == "flow_started":
        _start(place, data)
    return StoredEvent(
        version, kind, found["at"], found["cause"], found["by"], tx[1], int(tx[2]), int(tx[3]), encode(data)
    )


def _kind(place: str, given: Any) -> str:
    if isinstance(given, str) and given in EVENTS:
        return given
    mend = did_you_mean(given, EVENTS) if isinstance(given, str) else ""
    _refuse(f"{place}: type", f'"{shown(given)}" is no event that this version knows', mend)


def _start(place: str, data: Mapping[str, Any]) -> None:
    """Checks what a start fixes for a flow: it is read without further looks from then on."""
    expected = {"plan", "init", "metadata", "labels", "options", "catalog_version"}
    _fields(f"{place}: data", data, expected, "a start in full")
    try:
        parse_plan(data["plan"], "data.plan")
        for name, read in (("init", parse_init), ("metadata", parse_metadata), ("labels", parse_labels)):
            if read(data[name]) != data[name]:
                _refuse(f"data.{name}", "is not what a flow can be started with", _MEND)
    except InvalidInput as error:
        raise _placed(place, error) from None
    options = data["options"]
    is_right = isinstance(options, dict) and "linger_ms" in options and options.keys() <= OPTIONS
    if not is_right or not all(_is_option(name, value) for name, value in options.items()):
        _refuse(f"{place}: data.options", "are not the options of a start", _MEND)


def _is_option(name: str, value: Any) -> bool:
    return value == "flow" if name == "compensate" else _is_number(value, 0, 2**53)


def _recorded(place: str, record: Recorder, event: StoredEvent) -> Recorded:
    try:
        recorded = record(event)
    except UnknownEvent as error:
        _refuse(place, str(error), _MEND)
    for _, what in check_shape(recorded):
        _refuse(place, what, _MEND)
    return recorded
