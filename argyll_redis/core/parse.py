"""From what people wrote to what the core works with; all that is wrong is reported together.

This is the face of parsing: steps here, their attributes in `parse_attribute.py`, the sections about
work in `parse_work.py`, the parts of requests in `parse_request.py`. Whatever passed is not checked
again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from argyll_redis.core.limits import MAX_STEP_BYTES, MAX_TITLE_CHARS
from argyll_redis.core.model import (
    JSON,
    Attribute,
    HttpWork,
    PythonWork,
    RetryDefaults,
    Script,
    Step,
    StepId,
    StepType,
)
from argyll_redis.core.parse_attribute import read_attributes, read_script
from argyll_redis.core.parse_request import (
    parse_goals,
    parse_init,
    parse_labels,
    parse_metadata,
    read_labels,
    sanitize_flow_id,
)
from argyll_redis.core.parse_work import (
    STEP_ID_RULE,
    read_flow,
    read_http,
    read_python,
    read_work_config,
    step_id,
)
from argyll_redis.core.reader import CompileScript, Reader
from argyll_redis.core.step_json import assemble, step_from_json, step_to_json
from argyll_redis.core.values import check, shown, type_matches
from argyll_redis.errors import InvalidInput, InvalidStep, Problem

__all__ = [
    "CompileScript",
    "parse_goals",
    "parse_init",
    "parse_labels",
    "parse_metadata",
    "parse_step",
    "sanitize_flow_id",
    "step_from_json",
    "step_id",
    "step_to_json",
    "type_matches",
    "with_defaults",
]

SECTIONS: Mapping[str, tuple[StepType, ...]] = {
    "http": (StepType.SYNC, StepType.ASYNC),
    "script": (StepType.SCRIPT,),
    "flow": (StepType.FLOW,),
    "python": (StepType.PYTHON,),
}
"""Which types a section belongs to; each type needs its section."""


@dataclass(slots=True)
class _Work:
    """What the section of a step's type says."""

    http: HttpWork | None = None
    script: Script | None = None
    goals: tuple[StepId, ...] = ()
    python: PythonWork | None = None


def parse_step(definition: JSON, compile_script: CompileScript | None = None) -> Step:
    """Makes a step of a definition; retry fields left out are not filled yet (see `with_defaults`).

    Raises `InvalidStep` with every problem there is. `compile_script` gets each script with its
    purpose, and raises `ScriptError` when it does not compile.
    """
    given = _as_given(definition)
    problems: list[Problem] = []
    reader = Reader(given, problems=problems, compile_script=compile_script)
    id, kind = _read_id(reader), reader.choice("type", StepType, needed=True)
    attributes = read_attributes(reader)
    work = _read_section(reader, kind, attributes)
    title = reader.text("name", most=MAX_TITLE_CHARS, default=id or "")
    predicate = read_script(reader, "predicate", "predicate")
    memoizable = _read_memoizable(reader, work)
    config = read_work_config(reader.section("work_config") or reader.within("work_config", {}))
    labels = read_labels(reader)
    reader.finish()
    if problems or id is None or kind is None:
        raise InvalidStep(f"step {_named(given)} is not valid", problems=problems)
    return assemble(
        id=id,
        name=title,
        type=kind,
        attributes=attributes.values(),
        http=work.http,
        script=work.script,
        goals=work.goals,
        python=work.python,
        predicate=predicate,
        memoizable=memoizable,
        work=config,
        labels=labels,
    )


def with_defaults(step: Step, defaults: RetryDefaults) -> Step:
    """Fills the retry fields that the definition left out, each from the process's defaults."""
    left_out = step.work.left_out
    if not left_out:
        return step
    filled = {field: getattr(defaults, field) for field in left_out}
    return replace(step, work=replace(step.work, **filled, left_out=frozenset[str]()))


# ----------------------------------------------------------------- the object


def _as_given(definition: JSON) -> dict[str, JSON]:
    """The definition as plain JSON of a bearable size."""
    try:
        given = check(definition)
    except InvalidInput as error:
        raise InvalidStep(problems=error.problems) from None
    if not isinstance(given, dict):
        problem = Problem("", "a step is an object", "use {...} with at least `id` and `type`")
        raise InvalidStep(problems=[problem])
    size_bytes = len(json.dumps(given, ensure_ascii=False, separators=(",", ":")).encode())
    if size_bytes > MAX_STEP_BYTES:
        problem = Problem("", f"the step has {size_bytes:,} bytes", f"use at most {MAX_STEP_BYTES:,}")
        raise InvalidStep(problems=[problem])
    return given  # pyright: ignore[reportUnknownVariableType]


def _named(given: Mapping[str, JSON]) -> str:
    id = given.get("id")
    return f"`{shown(id)}`" if isinstance(id, str) and id else "without an id"


def _read_id(reader: Reader) -> StepId | None:
    given = reader.needed("id", mend=STEP_ID_RULE)
    id = step_id(given)
    if given is not None and id is None:
        reader.refuse("id", "is not a step id", STEP_ID_RULE)
    return id


def _read_section(reader: Reader, kind: StepType | None, attributes: Mapping[str, Attribute]) -> _Work:
    """Reads the section of the step's type; refuses those of others."""
    work = _Work()
    for section in _sections(reader, kind):
        if section == "script":
            work.script = read_script(reader, "script", "step")
            continue
        within = reader.section(section)
        if within is None:
            continue
        if section == "http":
            work.http = read_http(within, attributes)
        elif section == "flow":
            work.goals = read_flow(within)
        else:
            work.python = read_python(within)
    return work


def _sections(reader: Reader, kind: StepType | None) -> Iterator[str]:
    for section, kinds in SECTIONS.items():
        given = reader.get(section) is not None
        if kind is None:
            continue
        if kind in kinds and given:
            yield section
        elif kind in kinds:
            reader.refuse(section, "is missing", f"a step of type {kind} needs it")
        elif given:
            belongs = " and ".join(kinds)
            reader.refuse(section, f"belongs to the type {belongs}, and the type is {kind}", "leave it out")


def _read_memoizable(reader: Reader, work: _Work) -> bool:
    memoizable = reader.flag("memoizable")
    if memoizable and work.http and work.http.compensate:
        reader.refuse("memoizable", "can't go together with `http.compensate`", "leave one of them out")
    if memoizable and work.python and work.python.undo:
        reader.refuse("memoizable", "can't go together with `python.undo`", "leave one of them out")
    return memoizable
