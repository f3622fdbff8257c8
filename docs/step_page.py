"""The reference page of step definitions, made of `reference/steps.template`.

The template has the words; fields, types, defaults and bounds are asked of the code, bounds by what it
refuses. Raises `ValueError` where words and fields differ. Examples are read as definitions before they are
shown.

- `@table NAME`, a line `field: words` for each field, `@end`: a table of the fields;
- `@types`: which section each step type needs;
- a fence `json NAME`: an example; NAME says whether it is a step, the attributes of one, or a `work_config`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from argyll_redis.app import StepOptions
from argyll_redis.core.model import RetryDefaults, StepType
from argyll_redis.core.parse import SECTIONS, parse_step, with_defaults
from argyll_redis.core.step_json import step_to_json
from argyll_redis.declare import Retry
from argyll_redis.errors import InvalidStep, Problem
from argyll_redis.http import schemas
from argyll_redis.scripting.evaluator import Evaluator

TEMPLATE = Path(__file__).parent / "reference" / "steps.template"
Fields = Mapping[str, Any]
Build = Callable[..., dict[str, Any]]
"""Puts fields into the object that a table is about; gives a step that has it."""

TOO_MUCH, TOO_LONG, TOO_MANY = 10**18, "x" * 100_000, 2_000
"""A number, a text and a count that no limit lets pass."""
UNBOUNDED = ("default", "value", "language")
"""Texts whose size is bounded by something else: that of the step, or the words that there are."""

BARE: Fields = {"id": "a", "type": "script", "script": {"language": "lua", "script": "return {}"}}
WORK: Fields = {
    "http": {"endpoint": "http://a"},
    "script": BARE["script"],
    "flow": {"goals": ["a"]},
    "python": {"handler": "a"},
}
OF_ROLE: Fields = {"const": {"value": "1"}, "meta": {"key": "flow_id"}}
"""The least that sections and roles say."""

# ---------------------------------------------------------------- steps to ask with


def _step(**fields: Any) -> dict[str, Any]:
    return {**BARE, **fields}


def _attribute(**fields: Any) -> dict[str, Any]:
    return _step(attributes={"x": {"role": "required", **fields}})


def _work_config(**fields: Any) -> dict[str, Any]:
    return _step(work_config=fields)


def _mapping(**fields: Any) -> dict[str, Any]:
    return _of_role("required")(mapping=fields)


def _of_role(role: str) -> Build:
    return lambda **fields: _step(
        attributes={"x": {"role": role, role: {**OF_ROLE.get(role, {}), **fields}}},
    )


def _of_type(section: str) -> Build:
    type = str(SECTIONS[section][0])
    return lambda **fields: {"id": "a", "type": type, section: {**WORK[section], **fields}}


def _filled(definition: Fields) -> Any:
    """A definition as plans hold it."""
    return step_to_json(with_defaults(parse_step(dict(definition)), RetryDefaults()))


def _problems(definition: Fields) -> list[Problem]:
    try:
        parse_step(dict(definition))
    except InvalidStep as error:
        return list(error.problems)
    return []


def _subject(name: str) -> tuple[Fields, Build, Fields]:
    """What a table is about: the schema of an object, how it gets into a step, the defaults of its fields."""
    of_step, of_attribute = schemas.STEP["properties"], schemas.ATTRIBUTE["properties"]
    if name in WORK:
        return of_step[name], _of_type(name), _filled(_of_type(name)())[name]
    if name in of_attribute:
        return of_attribute[name], _of_role(name), _filled(_of_role(name)())["attributes"]["x"].get(name, {})
    filled = _filled(BARE)
    return {
        "step": (schemas.STEP, _step, {"memoizable": filled["memoizable"]}),
        "attribute": (schemas.ATTRIBUTE, _attribute, {}),
        "mapping": (schemas.MAPPING, _mapping, {}),
        "work_config": (of_step["work_config"], _work_config, filled["work_config"]),
    }[name]


# ------------------------------------------------------------------ cells of a row


def _type(shape: Fields) -> str:
    if "enum" in shape:
        return ", ".join(f"`{word}`" for word in shape["enum"])
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    return words.get(shape["type"], "list of texts" if shape["type"] == "array" else "object")


def _default(value: Any) -> str:
    if value is None or value in ([], ""):
        return "none"
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else f"`{json.dumps(value)}`"
    )


def _limit(shape: Fields, field: str, build: Build) -> str:
    """The bounds of a field, in the words of the refusal of what is beyond them."""
    if shape["type"] == "number":
        return f"{shape['minimum']} to {shape['maximum']}"
    value = _too_much(shape)
    if value is None or field in UNBOUNDED:
        return ""
    told = _problems(build(**{field: value}))
    [problem] = [each for each in told if each.path.rpartition(".")[2] == field]
    counted = re.search(r"[\d,]+ ([a-z]+)", problem.what)
    mend = re.sub(r"\d{5,}", lambda digits: f"{int(digits[0]):,}", problem.mend.removeprefix("use "))
    return f"{mend} {counted[1]}" if counted and mend.startswith("at most") else mend


def _too_much(shape: Fields) -> Any:
    """A value of a field's kind that no limit lets pass; None where there is none to ask for."""
    if "enum" in shape:
        return None
    many = [f"x{index}" for index in range(TOO_MANY)]
    if shape["type"] == "object":
        within = shape["additionalProperties"]
        return (
            dict.fromkeys(many, "x" if within == schemas.TEXT else {"role": "required"}) if within else None
        )
    return {"integer": TOO_MUCH, "string": TOO_LONG, "array": many}.get(shape["type"])


def _known(build: Build) -> set[str]:
    """The fields that an object may have, as the refusal of another one names them."""
    [problem] = [each for each in _problems(build(**{"?": 1})) if each.path.endswith("?")]
    return set(problem.mend.removeprefix("use one of ").split(", "))


# ------------------------------------------------------------- parts of the template


def _words(lines: str) -> dict[str, str]:
    rows = [line.partition(": ") for line in lines.splitlines()]
    return {field: words for field, _, words in rows}


def _same(given: set[str], known: set[str], what: str) -> None:
    if given != known:
        raise ValueError(f"{what}: without words {known - given}, without a field {given - known}")


def _table(name: str, words: Mapping[str, str]) -> str:
    if name == "arguments":
        return _arguments(words)
    schema, build, defaults = _subject(name)
    fields = schema["properties"]
    _same(set(words), set(fields), f"{name} as the schema has it")
    _same(set(words), _known(build), f"{name} as it is read")
    rows = ["| field | type | default | limit | means |", "|---|---|---|---|---|"]
    for field, says in words.items():
        shape = fields[field]
        default = "needed" if field in schema.get("required", ()) else _default(defaults.get(field))
        rows.append(f"| `{field}` | {_type(shape)} | {default} | {_limit(shape, field, build)} | {says} |")
    return "\n".join(rows)


def _arguments(words: Mapping[str, str]) -> str:
    """What arguments of `@app.step` become."""
    _same(set(words), set(StepOptions.__annotations__), "@app.step")
    _same(set(re.findall(r"\w+(?=[,)])", words["retry"])), set(Retry.__dataclass_fields__), "Retry")
    rows = [f"| `{name}=` | {says} |" for name, says in words.items()]
    return "\n".join(["| `@app.step` | in the definition |", "|---|---|", *rows])


def _types() -> str:
    needs = {type: section for section, types in SECTIONS.items() for type in types}
    rows = [f"| `{type}` | [`{needs[type]}`](#{needs[type]}) |" for type in StepType]
    return "\n".join(["| type | needs the section |", "|---|---|", *rows])


def _example(kind: str, text: str) -> str:
    given = json.loads(text)
    parse_step(given if kind == "step" else _step(**{kind: given}), Evaluator().compile)
    return f"```json\n{text}```"


def page() -> str:
    """The page. Raises `ValueError`, or `InvalidStep` for an example."""
    text = TEMPLATE.read_text()
    text = re.sub(r"^```json (\w+)\n(.*?)^```", lambda m: _example(m[1], m[2]), text, flags=re.S | re.M)
    text = re.sub(
        r"^@table (\w+)\n(.*?)\n@end", lambda m: _table(m[1], _words(m[2])), text, flags=re.S | re.M
    )
    return text.replace("@types", _types())
