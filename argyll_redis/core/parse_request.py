"""The parts of a start, a preview or a query that are parsed alike wherever they come from.

Each function takes what was given and returns it in the core's shape, or raises `InvalidInput`
(`NoGoals`) with all that is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import cast

from argyll_redis.core.limits import (
    MAX_GOALS,
    MAX_ID_CHARS,
    MAX_INIT_NAMES,
    MAX_LABEL_CHARS,
    MAX_LABELS,
    MAX_METADATA,
    MAX_NAME_CHARS,
)
from argyll_redis.core.model import JSON, StepId
from argyll_redis.core.parse_work import STEP_ID_RULE, step_id
from argyll_redis.core.reader import Reader, is_plain
from argyll_redis.core.values import check, shown
from argyll_redis.errors import InvalidInput, NoGoals, Problem, UnknownFlow

_DROPPED = re.compile(r"[^a-z0-9_.+-]")
_FLOW_ID = re.compile(r"[a-z0-9_.+:-]+")
_BLANK = re.compile(r"\s")


def sanitize_flow_id(text: object) -> str:
    """Makes the flow id that a text stands for: lower case, blanks to `-`, other characters dropped.

    Raises `InvalidInput` when nothing is left, or too much.
    """
    if not isinstance(text, str):
        raise InvalidInput(problems=[Problem("id", "is not text", "put it in quotes")])
    id = _DROPPED.sub("", _BLANK.sub("-", text.lower()))
    if not id:
        what = "has no character that a flow id may have"
        raise InvalidInput(problems=[Problem("id", what, "use a-z 0-9 _ . - +, or leave it out")])
    if len(id) > MAX_ID_CHARS:
        what = f"is {len(id):,} characters long"
        raise InvalidInput(problems=[Problem("id", what, f"use at most {MAX_ID_CHARS}")])
    return id


def read_flow_id(text: object) -> str:
    """Reads the id of a flow that is there already, a child or not. Raises `UnknownFlow` for what no
    flow can be called: a store is not asked for it."""
    if isinstance(text, str) and _FLOW_ID.fullmatch(text):
        return text
    raise UnknownFlow(f'no flow "{shown(text)}" exists')


def parse_goals(goals: object) -> tuple[StepId, ...]:
    """Reads step ids, each once, in the order given. Raises `NoGoals` when there are none."""
    if not goals:
        raise NoGoals
    if isinstance(goals, str) or not isinstance(goals, Iterable):
        raise InvalidInput(problems=[Problem("goals", "is not a list", "use a list of step ids")])
    given = list(cast("Iterable[object]", goals))
    ids = [step_id(goal) for goal in given]
    problems = [
        Problem(f"goals[{index}]", f"`{shown(goal)}` is not a step id", STEP_ID_RULE)
        for index, goal in enumerate(given)
        if ids[index] is None
    ]
    found = tuple(dict.fromkeys(id for id in ids if id is not None))
    if len(found) > MAX_GOALS:
        problems.append(Problem("goals", f"{len(found):,} goals", f"use at most {MAX_GOALS}"))
    _raise(problems)
    return found


def parse_init(init: object) -> dict[str, list[JSON]]:
    """Reads initial values, name to list, in name order; a name without values counts as not given."""
    problems: list[Problem] = []
    given = _map(init, "init", problems, most=MAX_INIT_NAMES)
    found: dict[str, list[JSON]] = {}
    for name, values in sorted(given.items()):
        if not isinstance(values, list | tuple):
            problems.append(Problem(f"init.{name}", "is not a list", "give the values as a list: [value]"))
            continue
        checked = _checked(values, f"init.{name}", problems)  # pyright: ignore[reportUnknownArgumentType]
        if checked:
            found[name] = checked
    _raise(problems)
    return found


def parse_labels(labels: object) -> dict[str, str]:
    """Reads the labels of a flow or a step, in key order."""
    problems: list[Problem] = []
    found = _labels(labels, "labels", problems)
    _raise(problems)
    return found


def read_labels(reader: Reader) -> dict[str, str]:
    """Reads the labels of a definition."""
    return _labels(reader.get("labels"), reader.place("labels"), reader.problems)


def parse_metadata(metadata: object) -> dict[str, JSON]:
    """Reads the metadata of a flow: names to any JSON, in name order."""
    problems: list[Problem] = []
    given = _map(metadata, "metadata", problems, most=MAX_METADATA)
    found = {name: _checked(value, f"metadata.{name}", problems) for name, value in sorted(given.items())}
    _raise(problems)
    return found


# --------------------------------------------------------------------- shared


def _raise(problems: list[Problem]) -> None:
    if problems:
        raise InvalidInput(problems=problems)


def _labels(labels: object, place: str, problems: list[Problem]) -> dict[str, str]:
    given = _map(labels, place, problems, most=MAX_LABELS)
    for key, value in given.items():
        if "=" in key or len(key) > MAX_LABEL_CHARS:
            mend = f"use at most {MAX_LABEL_CHARS} characters, and no ="
            problems.append(Problem(f"{place}.{shown(key)}", "is not a label key", mend))
        elif not _is(value, _is_label_value):
            mend = f"use text of at most {MAX_LABEL_CHARS} plain characters"
            problems.append(Problem(f"{place}.{key}", "is not a label value", mend))
    return {key: str(value) for key, value in sorted(given.items())}


def _is_label_value(text: str) -> bool:
    return len(text) <= MAX_LABEL_CHARS and is_plain(text)


def _map(given: object, place: str, problems: list[Problem], *, most: int) -> dict[str, object]:
    """The entries of a map whose keys are names; null is an empty map."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        problems.append(Problem(place, "is not an object", "use {name: ...}"))
        return {}
    entries = dict(cast("Mapping[object, object]", given))
    if len(entries) > most:
        problems.append(Problem(place, f"has {len(entries):,} names", f"use at most {most}"))
        return {}
    bad = [key for key in entries if not _is(key, _is_name)]
    mend = f"use 1 to {MAX_NAME_CHARS} plain characters"
    problems.extend(Problem(place, f"`{shown(key)}` is not a name", mend) for key in bad)
    return {key: value for key, value in entries.items() if isinstance(key, str) and key not in bad}


def _is(value: object, rule: Callable[[str], bool]) -> bool:
    return isinstance(value, str) and rule(value)


def _is_name(text: str) -> bool:
    """A name is short, on one line, and valid Unicode."""
    return 0 < len(text) <= MAX_NAME_CHARS and is_plain(text)


def _checked(value: object, path: str, problems: list[Problem]) -> JSON:
    try:
        return check(value, path)
    except InvalidInput as error:
        problems.extend(error.problems)
        return None
