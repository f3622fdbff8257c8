"""Options that commands share, and how `name=value` and files of JSON are read.

`common` gives a command `--redis`, `--namespace` and `--json`, as one `Asked`; `placed` does so for
commands that go elsewhere by default.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, BinaryIO

import click

from argyll_redis.errors import InvalidInput, Problem

DEFAULT_NAMESPACE = "argyll"
DEFAULT_URL = "redis://localhost:6379/0"
"""Both as in `argyll_redis.app`, which is not imported for `--help`; a test holds them equal."""
MAX_FILE_BYTES = 64 * 1024 * 1024
"""Of a file of steps or initial values: what is still read at once without harm."""
STANDARD_INPUT = "-"
UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"([0-9]{1,18})\s*(ms|s|m|h|d)?")


@dataclass(frozen=True, slots=True)
class Asked:
    """Where a command goes and how it answers; what was not given is None."""

    url: str | None
    namespace: str | None
    as_json: bool


def placed(default_server: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes what gives a command the options that all have; it is called with an `Asked` first.
    `default_server` says where the command goes when nobody says where."""

    def give(function: Callable[..., None]) -> Callable[..., None]:
        @click.option(
            "--redis",
            "url",
            metavar="URL",
            envvar="ARGYLL_REDIS_URL",
            show_envvar=True,
            show_default=default_server,
            help="The Redis to use: redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://.",
        )
        @click.option(
            "--namespace",
            metavar="NAME",
            envvar="ARGYLL_NAMESPACE",
            show_envvar=True,
            show_default=DEFAULT_NAMESPACE,
            help="The namespace in it.",
        )
        @click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
        @functools.wraps(function)
        def called(*, url: str | None, namespace: str | None, as_json: bool, **options: Any) -> None:
            function(Asked(url, namespace, as_json), **options)

        return called

    return give


common = placed(DEFAULT_URL)
"""Gives a command the options that all have."""


def init_options(function: Callable[..., None]) -> Callable[..., None]:
    """Gives a command `--init` and `--init-file`; read them with `read_init`."""
    from argyll_redis.cli.completing import complete_files

    for_values = click.option(
        "--init",
        metavar="NAME=VALUE",
        multiple=True,
        help="An initial value: JSON if it parses, else text. The same name again adds another.",
    )
    for_file = click.option(
        "--init-file",
        metavar="FILE",
        shell_complete=complete_files,
        help='A JSON object of names to one initial value each; "-" is standard input.',
    )
    return for_values(for_file(function))


class Duration(click.ParamType):
    """A duration as people write it, `90s` or `7d`; without a unit it is ms. Gives ms."""

    name = "duration"

    def __init__(self, max_ms: int) -> None:
        self._max_ms = max_ms

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Reads it; what is no duration, or too long a one, is refused."""
        found = _DURATION.fullmatch(str(value).strip().lower())
        if found is None:
            self.fail(f'"{value}" is no duration (use a number and one of {", ".join(UNITS_MS)})', param, ctx)
        ms = int(found[1]) * UNITS_MS[found[2] or "ms"]
        if ms > self._max_ms:
            longest = f"{self._max_ms // UNITS_MS['d']:,}d"
            self.fail(f'"{value}" is too long (use at most {longest})', param, ctx)
        return ms


# ------------------------------------------------------------------ name=value


def split_pair(text: str, option: str) -> tuple[str, str]:
    """Splits `name=value` at the first `=`. Raises `InvalidInput`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidInput(problems=[Problem(option, f'"{text}" has no value', "use name=value")])
    if not name:
        raise InvalidInput(problems=[Problem(option, f'"{text}" has no name', "use name=value")])
    return name, value


def json_or_text(text: str, place: str) -> Any:
    """The JSON that a text is, else the text itself.

    What is JSON to some readers only (NaN, whole numbers beyond 64 bit, a key twice) is refused, not
    taken as text: it was hardly meant so. Raises `InvalidInput`.
    """
    from argyll_redis.store.codec import parse

    try:
        json.loads(text)
    except json.JSONDecodeError:
        return text
    except (ValueError, RecursionError):
        pass  # too large or too deep: refused below
    try:
        return parse(text)
    except InvalidInput as error:
        problems = [Problem(f"{place}{_below(p.path)}", p.what, p.mend) for p in error.problems]
        raise InvalidInput(problems=problems) from None


def _below(path: str) -> str:
    """A path as it follows the place that it is in."""
    return f".{path}" if path and not path.startswith("[") else path


def read_init(given: Iterable[str], file: str | None) -> dict[str, Any]:
    """Initial values as `Argyll.start` takes them: those of the file, then those of the options.

    Raises `InvalidInput`.
    """
    from argyll_redis.steps.context import Values

    found: dict[str, list[Any]] = {}
    for name, value in _object(file).items() if file is not None else ():
        found[name] = [value]
    for text in given:
        name, value = split_pair(text, "--init")
        found.setdefault(name, []).append(json_or_text(value, f"init.{name}"))
    return {name: values[0] if len(values) == 1 else Values(*values) for name, values in found.items()}


def read_texts(given: Iterable[str], option: str) -> dict[str, str]:
    """Names and texts, each name once. Raises `InvalidInput`."""
    found: dict[str, str] = {}
    for text in given:
        name, value = split_pair(text, option)
        if name in found:
            raise InvalidInput(problems=[Problem(option, f'"{name}" is given twice', "give it once")])
        found[name] = value
    return found


def read_values(given: Iterable[str], option: str) -> dict[str, Any]:
    """Names and values, JSON or text, each name once. Raises `InvalidInput`."""
    place = option.removeprefix("--")
    return {name: json_or_text(value, f"{place}.{name}") for name, value in read_texts(given, option).items()}


# ----------------------------------------------------------------------- files


def read_document(file: str) -> Any:
    """The JSON document in a file; `-` is standard input. Raises `InvalidInput` that names the file."""
    from argyll_redis.store.codec import parse

    with open_file(file) as opened:
        try:
            data = opened.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                what = f"more than {MAX_FILE_BYTES:,} bytes"
                raise InvalidInput(problems=[Problem("", what, "split it")])
            return parse(data)
        except OSError as error:
            raise of_file(file, _unreadable(error)) from None
        except InvalidInput as error:
            raise of_file(file, error) from None


def name_of(file: str) -> str:
    """A file as messages name it."""
    return "standard input" if file == STANDARD_INPUT else file or '""'


def of_file(file: str, error: InvalidInput) -> InvalidInput:
    """What is wrong with a document, said of its file."""
    name = name_of(file)
    problems = [Problem(f"{name}: {p.path}" if p.path else name, p.what, p.mend) for p in error.problems]
    return InvalidInput(problems=problems) if problems else error


def open_file(file: str) -> AbstractContextManager[BinaryIO]:
    """Opens a file to read; `-` is standard input. Raises `InvalidInput` that names the file."""
    try:
        if file != STANDARD_INPUT:
            return open(file, "rb")
        if sys.stdin is None:
            raise ValueError("it is closed")
        return nullcontext(sys.stdin.buffer)
    except (OSError, ValueError) as error:
        raise of_file(file, _unreadable(error)) from None


def lines_of(opened: BinaryIO, *, limit_bytes: int) -> Iterator[bytes]:
    """The lines of an open file; a longer one comes in parts. Raises `InvalidInput`."""
    try:
        while line := opened.readline(limit_bytes):
            yield line
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None


def _unreadable(error: OSError | ValueError) -> InvalidInput:
    reason = getattr(error, "strerror", None) or str(error)
    return InvalidInput(problems=[Problem("", f"cannot be read: {reason.lower()}", "name a file of JSON")])


def _object(file: str) -> dict[str, Any]:
    document = read_document(file)
    if not isinstance(document, dict):
        what = "is not an object"
        raise InvalidInput(problems=[Problem(name_of(file), what, "use {name: value, ...}")])
    return document
