"""Definitions and the parts of requests: what they become, and each way in which they are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.core.limits import MAX_ATTRIBUTES, MAX_DURATION_MS
from argyll_redis.core.model import (
    Attribute,
    AttributeType,
    Backoff,
    Collect,
    HttpWork,
    Mapping_,
    OnFailure,
    PythonWork,
    RetryDefaults,
    Role,
    Script,
    Step,
    StepType,
    WorkConfig,
)
from argyll_redis.core.parse import (
    parse_goals,
    parse_init,
    parse_labels,
    parse_metadata,
    parse_step,
    sanitize_flow_id,
    step_from_json,
    step_to_json,
    with_defaults,
)
from argyll_redis.errors import MAX_PROBLEMS, InvalidInput, InvalidStep, NoGoals, ScriptError

LUA = {"language": "lua", "script": "return true"}
JPATH = {"language": "jpath", "script": "$.ok"}


def python_step(**fields: Any) -> dict[str, Any]:
    """A small valid definition, with fields added or replaced; None leaves one out."""
    given = {"id": "price", "type": "python", "python": {"handler": "price"}, **fields}
    return {name: value for name, value in given.items() if value is not None}


def sync_step(http: Mapping[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """A small valid definition of a step that is called."""
    return {"id": "call", "type": "sync", "http": {"endpoint": "http://host/a", **(http or {})}, **fields}


def attribute(role: str, type: str | None = None, **given: Any) -> dict[str, Any]:
    """An attribute spec."""
    spec: dict[str, Any] = {"role": role, **({"type": type} if type else {})}
    return {**spec, role: given} if given else spec


def problems(definition: Any, **options: Any) -> list[tuple[str, str]]:
    """Path and text of each problem of a definition."""
    with pytest.raises(InvalidStep) as refusal:
        parse_step(definition, **options)
    return [
        (each.path, f"{each.what} ({each.mend})" if each.mend else each.what)
        for each in refusal.value.problems
    ]


def parsed_or_refused(definition: Any) -> Step | InvalidStep:
    """The step of a definition, or its refusal."""
    try:
        return parse_step(definition)
    except InvalidStep as error:
        return error


def only_problem(definition: Any, **options: Any) -> tuple[str, str]:
    """The one problem of a definition."""
    (problem,) = problems(definition, **options)
    return problem


# ------------------------------------------------------------- what is understood


@pytest.mark.contract("steps", "A definition says only what differs: every other field has a default.")
def test_a_small_definition_gets_every_default() -> None:
    assert parse_step(python_step()) == Step(
        id="price",  # type: ignore[arg-type]
        name="price",
        type=StepType.PYTHON,
        python=PythonWork(handler="price", queue="default"),
        work=WorkConfig(
            left_out=frozenset({"max_retries", "init_backoff_ms", "max_backoff_ms", "backoff"}),
        ),
    )


def test_a_full_definition_is_understood_field_by_field() -> None:
    step = parse_step(
        {
            "id": "Charge.Card",
            "name": "Charge the card",
            "type": "python",
            "attributes": {
                "total": attribute("required", "number", collect="last", match=LUA, mapping={"name": "sum"}),
                "items": attribute("required", "array", for_each=True),
                "note": attribute("optional", "string", default='"none"', deadline=500, collect="none"),
                "rate": attribute("const", "number", value="0.2"),
                "flow": attribute("meta", key="flow_id"),
                "receipt": attribute("output", "array", mapping={"script": JPATH}),
            },
            "python": {"handler": "charge", "queue": "pay", "permanent": ["Declined"], "undo": "refund"},
            "predicate": LUA,
            "work_config": {
                "parallelism": 8,
                "max_retries": -1,
                "init_backoff": 100,
                "max_backoff": 200,
                "backoff_type": "linear",
                "max_attempts": 5,
                "jitter": 0.5,
                "timeout": 3000,
                "on_failure": "tolerate",
            },
            "labels": {"team": "pay"},
        }
    )
    lua, jpath = Script("lua", "return true"), Script("jpath", "$.ok")
    number, array = AttributeType.NUMBER, AttributeType.ARRAY
    total = Attribute(
        "total", Role.REQUIRED, number, collect=Collect.LAST, match=lua, mapping=Mapping_(name="sum")
    )
    items = Attribute("items", Role.REQUIRED, array, for_each=True)
    note = Attribute(
        "note",
        Role.OPTIONAL,
        AttributeType.STRING,
        collect=Collect.NONE,
        default='"none"',
        deadline_ms=500,
    )
    assert (step.id, step.name, step.queue) == ("charge.card", "Charge the card", "pay")
    assert step.inputs == (items, note, total)
    assert step.constants == (Attribute("rate", Role.CONST, number, value="0.2"),)
    assert step.metas == (Attribute("flow", Role.META, key="flow_id"),)
    assert step.outputs == (Attribute("receipt", Role.OUTPUT, array, mapping=Mapping_(script=jpath)),)
    assert step.for_each == (items,)
    assert list(step.attributes) == ["flow", "items", "note", "rate", "receipt", "total"]
    assert step.python == PythonWork("charge", "pay", ("Declined",), "refund")
    assert step.predicate == lua
    assert step.work == WorkConfig(
        8, -1, 100, 200, Backoff.LINEAR, 5, 0.5, 3000, OnFailure.TOLERATE, frozenset()
    )
    assert step.labels == {"team": "pay"}
    assert total.inner == "sum"


@pytest.mark.parametrize(
    ("fields", "section", "value"),
    [
        ({"type": "script", "script": LUA}, "script", Script("lua", "return true")),
        ({"type": "flow", "flow": {"goals": ["A", "b", "a"]}}, "goals", ("a", "b")),
        ({"type": "sync", "http": {"endpoint": "https://h/x"}}, "http", HttpWork("https://h/x")),
        (
            {"type": "async", "http": {"endpoint": "http://h", "method": "PUT", "timeout": 5}},
            "http",
            HttpWork("http://h", "PUT", 5),
        ),
    ],
)
def test_each_type_has_a_section_of_its_own(fields: dict[str, Any], section: str, value: Any) -> None:
    assert getattr(parse_step({"id": "s", **fields}), section) == value


def test_a_null_field_counts_as_left_out() -> None:
    given = python_step(name="x")
    assert parse_step({**given, "http": None, "labels": None, "predicate": None}) == parse_step(given)


@pytest.mark.contract(
    "steps", "A URL may hold required inputs; one that undoes any input or output, by inner name."
)
def test_parameters_of_urls_name_inputs_and_outputs_by_their_inner_names() -> None:
    step = parse_step(
        sync_step(
            {"endpoint": "http://h/{who}?x={who}", "compensate": "http://h/{who}/{note}/{receipt}/{rate}"},
            attributes={
                "customer": attribute("required", mapping={"name": "who"}),
                "note": attribute("optional"),
                "rate": attribute("const", value="1"),
                "paper": attribute("output", mapping={"name": "receipt"}),
            },
        )
    )
    assert step.http is not None
    assert step.http.endpoint == "http://h/{who}?x={who}"


@pytest.mark.contract("outcomes", "Retry fields left out, 0 or empty take their default, field by field.")
@pytest.mark.parametrize(
    ("given", "filled"),
    [
        ({}, WorkConfig(1, 3, 20, 30, Backoff.FIXED)),
        ({"max_retries": 0, "init_backoff": 0, "backoff_type": ""}, WorkConfig(1, 3, 20, 30, Backoff.FIXED)),
        ({"max_retries": -1}, WorkConfig(1, -1, 20, 30, Backoff.FIXED)),
        ({"init_backoff": 7}, WorkConfig(1, 3, 7, 30, Backoff.FIXED)),
        ({"max_backoff": 7}, WorkConfig(1, 3, 20, 7, Backoff.FIXED)),
        ({"backoff_type": "linear"}, WorkConfig(1, 3, 20, 30, Backoff.LINEAR)),
    ],
)
def test_retry_fields_left_out_or_0_or_empty_take_the_default_field_by_field(
    given: dict[str, Any], filled: WorkConfig
) -> None:
    defaults = RetryDefaults(3, 20, 30, Backoff.FIXED)
    assert with_defaults(parse_step(python_step(work_config=given)), defaults).work == filled


def test_filling_a_filled_step_changes_nothing() -> None:
    step = with_defaults(parse_step(python_step()), RetryDefaults())
    assert with_defaults(step, RetryDefaults(max_retries=99)) is step


# --------------------------------------------------------------------- as JSON


def test_a_step_as_json_has_its_defaults_in_a_fixed_order() -> None:
    step = with_defaults(
        parse_step(python_step(attributes={"b": attribute("optional"), "a": attribute("output")})),
        RetryDefaults(),
    )
    assert json.dumps(step_to_json(step)) == json.dumps(
        {
            "id": "price",
            "name": "price",
            "type": "python",
            "attributes": {
                "a": {"role": "output"},
                "b": {"role": "optional", "optional": {"collect": "first", "for_each": False, "deadline": 0}},
            },
            "python": {"handler": "price", "queue": "default", "permanent": []},
            "memoizable": False,
            "work_config": {
                "parallelism": 1,
                "max_retries": 10,
                "init_backoff": 1000,
                "max_backoff": 60000,
                "backoff_type": "exponential",
                "max_attempts": 0,
                "jitter": 0.0,
                "timeout": 0,
                "on_failure": "fail_fast",
            },
            "labels": {},
        }
    )


def test_retry_fields_that_are_not_filled_are_left_out_of_the_json() -> None:
    step = parse_step(python_step(work_config={"max_backoff": 9}))
    assert set(step_to_json(step)["work_config"]) == {
        "parallelism",
        "max_backoff",
        "max_attempts",
        "jitter",
        "timeout",
        "on_failure",
    }


scripts = st.sampled_from([LUA, JPATH])
mappings = st.fixed_dictionaries({"script": scripts}) | st.fixed_dictionaries(
    {"name": st.uuids().map(str)}, optional={"script": scripts}
)
collects = st.sampled_from([str(each) for each in Collect])


def specs(role: str, **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    within = st.fixed_dictionaries({}, optional=fields)
    return st.builds(lambda given: {"role": role, role: given}, within)


attributes = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d", "e"]),
    specs("required", collect=collects, for_each=st.booleans(), match=scripts, mapping=mappings)
    | specs("optional", collect=collects, default=st.just("[]"), deadline=st.integers(0, 9), mapping=mappings)
    | st.just(attribute("const", value="1"))
    | st.just(attribute("meta", key="attempt"))
    | specs("output", mapping=mappings),
)
sections = st.one_of(
    st.builds(
        lambda handler: {"type": "python", "python": handler},
        st.fixed_dictionaries(
            {"handler": st.just("h")},
            optional={"queue": st.just("q"), "permanent": st.just(["E"]), "undo": st.just("u")},
        ),
    ),
    st.just({"type": "script", "script": LUA}),
    st.just({"type": "flow", "flow": {"goals": ["x", "y"]}}),
    st.just(
        {
            "type": "sync",
            "http": {"endpoint": "http://h", "health_check": "http://h", "compensate": "http://h"},
        }
    ),
)
work_configs = st.fixed_dictionaries(
    {},
    optional={
        "parallelism": st.integers(0, 9),
        "max_retries": st.integers(-1, 9),
        "init_backoff": st.integers(0, 9),
        "backoff_type": st.sampled_from(["", "fixed", "linear"]),
        "jitter": st.sampled_from([0, 1, 0.5]),
        "on_failure": st.sampled_from(["finish", "tolerate"]),
    },
)


@settings(max_examples=150, deadline=None)
@given(attributes, sections, work_configs, st.booleans())
def test_the_json_of_a_filled_step_is_read_back_as_the_same_step(
    attributes: Any, section: Any, work_config: Any, predicate: bool
) -> None:
    definition = {"id": "s", "attributes": attributes, "work_config": work_config, **section}
    step = parse_step({**definition, "predicate": LUA} if predicate else definition)
    filled = with_defaults(step, RetryDefaults())
    written = json.loads(json.dumps(step_to_json(filled)))
    assert step_from_json(written) == filled
    assert parse_step(written) == filled


# ------------------------------------------------------------ what is refused


ABOUT_THE_STEP = [
    (5, "", "a step is an object"),
    ([], "", "a step is an object"),
    (python_step(id=None), "id", "is missing"),
    (python_step(id=7), "id", "is not a step id"),
    (python_step(id=""), "id", "is not a step id"),
    (python_step(id="a" * 257), "id", "is not a step id"),
    (python_step(id="-a"), "id", "is not a step id"),
    (python_step(id="a-"), "id", "is not a step id"),
    (python_step(id="a b"), "id", "is not a step id"),
    (python_step(id="a:b"), "id", "is not a step id"),
    (python_step(id="é"), "id", "is not a step id"),
    (python_step(id="a\n"), "id", "is not a step id"),
    (python_step(name=3), "name", "is not text"),
    (python_step(name="x" * 1025), "name", "is 1,025 characters long"),
    (python_step(type="pyton"), "type", "did you mean `python`?"),
    (python_step(type="\x1b[31m"), "type", '"\\x1b[31m" is not one of'),
    (python_step(pythn={}), "pythn", "is not a known field (did you mean `python`?)"),
    (python_step(http={"endpoint": "http://h"}), "http", "belongs to the type sync and async"),
    (python_step(script=LUA), "script", "belongs to the type script, and the type is python"),
    (python_step(flow={"goals": ["a"]}), "flow", "belongs to the type flow"),
    ({"id": "s", "type": "script"}, "script", "is missing (a step of type script needs it)"),
    ({"id": "s", "type": "flow"}, "flow", "is missing"),
    ({"id": "s", "type": "async"}, "http", "is missing"),
    (python_step(python=[]), "python", "is not an object"),
    (python_step(memoizable="yes"), "memoizable", "is not a boolean"),
    (python_step(memoizable=True, python={"handler": "h", "undo": "u"}), "memoizable", "`python.undo`"),
    (sync_step({"compensate": "http://h"}, memoizable=True), "memoizable", "`http.compensate`"),
    (python_step(predicate="x"), "predicate", "is not an object"),
    (python_step(predicate={"language": "lua"}), "predicate.script", "is missing"),
    (python_step(predicate={"script": "x"}), "predicate.language", "is missing (use lua or jpath)"),
    (python_step(predicate={**LUA, "scripts": "x"}), "predicate.scripts", "did you mean `script`?"),
    (python_step(predicate={**LUA, "script": ""}), "predicate.script", "is empty (write an expression)"),
    (python_step(predicate={**LUA, "script": []}), "predicate.script", "is not text"),
    (python_step(predicate={**LUA, "script": 0}), "predicate.script", "is not text"),
    (python_step(predicate={**LUA, "language": ""}), "predicate.language", "is empty (use lua or jpath)"),
    (python_step(predicate={**LUA, "language": False}), "predicate.language", "is not text"),
    ({"id": "s", "type": "script", "script": {**LUA, "script": ""}}, "script.script", "is empty"),
    (python_step(predicate={"language": "lua", "script": "x" * 65_537}), "predicate.script", "65,536"),
    (python_step(predicate={"language": "jpath", "script": "x" * 4_097}), "predicate.script", "4,096"),
    (python_step(labels={"a": 1}), "labels.a", "is not a label value"),
    (python_step(labels={"a=b": "c"}), "labels.a=b", "is not a label key"),
    (python_step(labels={str(n): "" for n in range(33)}), "labels", "has 33 names (use at most 32)"),
    (python_step(name="x", labels={"x": float("nan")}), "labels.x", "nan is not a JSON number"),
]
ABOUT_WORK = [
    (python_step(python={}), "python.handler", "is missing"),
    (python_step(python={"handler": ""}), "python.handler", "is empty"),
    (python_step(python={"handler": 5}), "python.handler", "is not text"),
    (python_step(python={"handler": "h", "queue": "a b"}), "python.queue", "is not a queue name"),
    (python_step(python={"handler": "h", "queue": "builtin"}), "python.queue", "other step types"),
    (python_step(python={"handler": "h", "permanent": "E"}), "python.permanent", "is not a list"),
    (python_step(python={"handler": "h", "permanent": [1]}), "python.permanent[0]", "is not a name"),
    (python_step(python={"handler": "h", "import": "os"}), "python.import", "is not a known field"),
    ({"id": "s", "type": "flow", "flow": {"goals": []}}, "flow.goals", "is missing"),
    ({"id": "s", "type": "flow", "flow": {"goals": ["a b"]}}, "flow.goals[0]", "is not a step id"),
    (sync_step({"endpoint": None}), "http.endpoint", "is missing"),
    (sync_step({"endpoint": ""}), "http.endpoint", "is empty (use an http or https URL)"),
    (sync_step({"method": "PATCH"}), "http.method", "use one of GET, POST, PUT, DELETE"),
    (sync_step({"method": "get"}), "http.method", "is not a method"),
    (sync_step({"timeout": -1}), "http.timeout", "out of range"),
    (sync_step({"endpoint": "ftp://h/x"}), "http.endpoint", "not an absolute http or https URL"),
    (sync_step({"endpoint": "/x"}), "http.endpoint", "not an absolute http or https URL"),
    (sync_step({"endpoint": "http:///x"}), "http.endpoint", "has no host"),
    (sync_step({"endpoint": "http://h:99999/x"}), "http.endpoint", "is not a URL"),
    (sync_step({"endpoint": "http://[::1/x"}), "http.endpoint", "is not a URL"),
    (sync_step({"endpoint": "http://h/a b"}), "http.endpoint", "has blanks"),
    (sync_step({"endpoint": "http://u:p@h/"}), "http.endpoint", "user name or password"),
    (sync_step({"endpoint": "http://h/{x"}), "http.endpoint", "a brace without its partner"),
    (sync_step({"health_check": "h"}), "http.health_check", "not an absolute"),
    (sync_step({"compensate": "file:///x"}), "http.compensate", "not an absolute"),
    (sync_step({"endpoint": "http://h/{x}"}), "http.endpoint", "`{x}` does not name a required input"),
    (
        sync_step({"endpoint": "http://h/{a}"}, attributes={"a": attribute("optional")}),
        "http.endpoint",
        "`{a}` does not name a required input",
    ),
    (
        sync_step(
            {"endpoint": "http://h/{order}"},
            attributes={"order": attribute("required", mapping={"name": "orders"})},
        ),
        "http.endpoint",
        "did you mean `orders`?",
    ),
    (
        sync_step({"endpoint": "http://{a}/"}, attributes={"a": attribute("required")}),
        "http.endpoint",
        "has a parameter in its host",
    ),
    (sync_step({"compensate": "http://h/{x}"}), "http.compensate", "does not name an input or output"),
    (sync_step({"health_check": "http://h/{x}"}), "http.health_check", "has no parameters"),
    (python_step(work_config={"parallelism": -1}), "work_config.parallelism", "-1 is out of range"),
    (python_step(work_config={"parallelism": True}), "work_config.parallelism", "is not a whole number"),
    (python_step(work_config={"parallelism": 10_001}), "work_config.parallelism", "out of range"),
    (python_step(work_config={"max_retries": -2}), "work_config.max_retries", "-2 is out of range"),
    (python_step(work_config={"init_backoff": 1.5}), "work_config.init_backoff", "not a whole number"),
    (python_step(work_config={"timeout": MAX_DURATION_MS + 1}), "work_config.timeout", "out of range"),
    (python_step(work_config={"jitter": 1.1}), "work_config.jitter", "is not a number from 0 to 1"),
    (python_step(work_config={"backoff_type": "cubic"}), "work_config.backoff_type", "is not one of fixed,"),
    (python_step(work_config={"on_failure": "finnish"}), "work_config.on_failure", "did you mean `finish`?"),
    (python_step(work_config={"retries": 3}), "work_config.retries", "did you mean `max_retries`?"),
]
ABOUT_ATTRIBUTES = [
    ([], "", "is not an object"),
    ({"a": None}, "a", "is not an object"),
    ({"a": "required"}, "a", "is not an object"),
    ({"": attribute("required")}, "", "is not a name"),
    ({"a\n": attribute("required")}, "a\\n", "is not a name"),
    ({str(n): attribute("required") for n in range(MAX_ATTRIBUTES + 1)}, "", "1,025 attributes"),
    ({"a": {}}, "a.role", "is missing"),
    ({"a": {"role": "requird"}}, "a.role", "did you mean `required`?"),
    ({"a": {"role": "required", "type": "int"}}, "a.type", '"int" is not one of string, number,'),
    ({"a": {"role": "required", "tpye": "any"}}, "a.tpye", "did you mean `type`?"),
    ({"a": {"role": "required", "optional": {}}}, "a.optional", "belongs to the role optional"),
    ({"a": attribute("required", default="1")}, "a.required.default", "is not a known field"),
    ({"a": attribute("required", deadline=1)}, "a.required.deadline", "is not a known field"),
    ({"a": attribute("optional", match=LUA)}, "a.optional.match", "is not a known field"),
    ({"a": attribute("output", for_each=True)}, "a.output.for_each", "is not a known field"),
    ({"a": attribute("const", value="1", mapping={"name": "b"})}, "a.const.mapping", "not a known field"),
    ({"a": attribute("required", collect="frist")}, "a.required.collect", "did you mean `first`?"),
    ({"a": attribute("required", "string", for_each=True)}, "a.required.for_each", "the type is string"),
    ({"a": attribute("required", mapping={})}, "a.required.mapping", "is empty"),
    ({"a": attribute("required", mapping={"nam": "b"})}, "a.required.mapping", "is empty"),
    ({"a": attribute("required", match={**LUA, "script": ""})}, "a.required.match.script", "is empty"),
    (
        {"a": attribute("output", mapping={"script": {**LUA, "script": {}}})},
        "a.output.mapping.script.script",
        "is not text",
    ),
    ({"a": attribute("optional", deadline=-1)}, "a.optional.deadline", "out of range"),
    ({"a": attribute("optional", default=5)}, "a.optional.default", 'write it as text, such as "5"'),
    ({"a": attribute("optional", default="abc")}, "a.optional.default", "text needs quotes of its own"),
    ({"a": attribute("optional", default="1e400")}, "a.optional.default", "does not hold JSON"),
    ({"a": attribute("optional", "string", default="5")}, "a.optional.default", "a value of type string"),
    ({"a": attribute("const")}, "a.const.value", "is missing"),
    ({"a": attribute("const", "number", value="true")}, "a.const.value", "a value of type number"),
    ({"a": attribute("meta")}, "a.meta.key", "is missing"),
    ({"a": attribute("meta", key="")}, "a.meta.key", "is empty"),
    (
        {"a": attribute("required", mapping={"name": "b"}), "b": attribute("const", value="1")},
        "b",
        "has the inner name `b`, as `a` has",
    ),
    (
        {"a": attribute("output", mapping={"name": "x"}), "b": attribute("output", mapping={"name": "x"})},
        "b",
        "has the inner name `x`, as `a` has",
    ),
    (
        {"a": attribute("required", for_each=True), "b": attribute("output", "number")},
        "b.type",
        "an output of a `for_each` step is a list",
    ),
]


@pytest.mark.contract("steps", "Each wrong field of a definition is refused with its place and the mend.")
@pytest.mark.parametrize(("definition", "path", "text"), [*ABOUT_THE_STEP, *ABOUT_WORK])
def test_a_definition_is_refused_with_the_place_and_the_mend(definition: Any, path: str, text: str) -> None:
    found = problems(definition)
    assert [(each, said) for each, said in found if each == path and text in said], found


@pytest.mark.contract(
    "steps", "Each wrong field of an attribute is refused, one that belongs to another role included."
)
@pytest.mark.parametrize(("given", "path", "text"), ABOUT_ATTRIBUTES)
def test_an_attribute_is_refused_with_the_place_and_the_mend(given: Any, path: str, text: str) -> None:
    found = problems(python_step(attributes=given))
    place = ".".join(filter(None, ("attributes", path)))
    assert [(each, said) for each, said in found if each.rstrip(".") == place and text in said], found


def test_an_input_and_an_output_may_share_an_inner_name() -> None:
    step = parse_step(
        python_step(
            attributes={
                "a": attribute("required", mapping={"name": "x"}),
                "b": attribute("output", mapping={"name": "x"}),
            }
        )
    )
    assert [each.inner for each in step.attributes.values()] == ["x", "x"]


@pytest.mark.parametrize("default", ["[]", '"one"'])
def test_the_default_of_an_input_that_gets_a_list_may_be_a_list_or_of_its_type(default: str) -> None:
    step = parse_step(
        python_step(attributes={"a": attribute("optional", "string", collect="some", default=default)})
    )
    assert step.attributes["a"].default == default


def test_all_problems_of_a_definition_are_reported_together() -> None:
    given = {
        "id": "A B",
        "type": "sync",
        "naem": "x",
        "python": {"handler": "h"},
        "attributes": {"a": {"role": "requird"}, "b": attribute("required", "string", for_each=True)},
        "http": {"endpoint": "h", "method": "GIT", "timeout": "1"},
        "work_config": {"jitter": 2, "max_retries": -5},
        "labels": {"x": 1},
    }
    assert [path for path, _ in problems(given)] == [
        "id",
        "attributes.a.role",
        "attributes.b.required.for_each",
        "http.endpoint",
        "http.method",
        "http.timeout",
        "python",
        "work_config.max_retries",
        "work_config.jitter",
        "labels.x",
        "naem",
    ]


def test_of_too_many_problems_the_first_are_reported_and_how_many_more_there_are() -> None:
    """What is full of mistakes must not be answered with many times its size."""
    found = problems(python_step(**{f"x{number}": 1 for number in range(5_000)}))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == ("", "4,900 more (mend these first)")


def test_a_definition_over_512_kib_is_refused() -> None:
    path, text = only_problem(python_step(name="x" * 600_000))
    assert (path, "use at most 524,288" in text) == ("", True)


def test_each_script_is_compiled_for_its_purpose() -> None:
    seen: list[tuple[str, str]] = []
    parse_step(
        {
            "id": "s",
            "type": "script",
            "script": {"language": "lua", "script": "1"},
            "predicate": {"language": "lua", "script": "2"},
            "attributes": {
                "a": attribute("required", match={"language": "lua", "script": "3"}),
                "b": attribute("output", mapping={"script": {"language": "lua", "script": "4"}}),
            },
        },
        lambda script, purpose: seen.append((script.script, purpose)),
    )
    assert sorted(seen) == [("1", "step"), ("2", "predicate"), ("3", "match"), ("4", "mapping")]


def test_a_script_that_does_not_compile_is_refused_with_line_and_column() -> None:
    def refuse(script: Script, purpose: str) -> None:
        raise ScriptError("unexpected symbol", line=3, column=7)

    assert only_problem(python_step(predicate=LUA), compile_script=refuse) == (
        "predicate",
        "the script does not compile: line 3, column 7: unexpected symbol",
    )


SECTION_2 = ["id", "name", "type", "attributes", "http", "script", "flow", "python", "predicate", "labels"]
SECTION_2 += ["role", "required", "optional", "const", "output", "meta", "mapping", "default", "value", "key"]
json_like = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 70000) | st.text(max_size=4) | st.just("python"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from([*SECTION_2, "goals", "handler", "endpoint"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=30,
)


@settings(max_examples=200, deadline=None)
@given(json_like)
def test_whatever_is_given_the_answer_is_a_step_or_its_problems(definition: Any) -> None:
    found = parsed_or_refused(definition)
    if isinstance(found, InvalidStep):
        assert [each for each in found.problems if not each.what] == []
        assert found.problems
    else:
        assert parse_step(step_to_json(found)) == found


# --------------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("order-17", "order-17"),
        ("Order 17", "order-17"),
        ("a\tb\nc", "a-b-c"),
        ("a:b/c{d}", "abcd"),
        ("Füße+1.2_3", "fe+1.2_3"),
        ("x" * 256, "x" * 256),
    ],
)
def test_a_flow_id_is_lower_case_with_blanks_as_dashes_and_nothing_else(text: str, id: str) -> None:
    assert sanitize_flow_id(text) == id
    assert sanitize_flow_id(id) == id


@pytest.mark.parametrize("text", ["", ":::", "\u00e9", "x" * 257, None, 7])
def test_a_flow_id_of_which_nothing_or_too_much_is_left_is_refused(text: object) -> None:
    with pytest.raises(InvalidInput, match=r"^id: "):
        sanitize_flow_id(text)


def test_goals_are_lower_case_each_once_in_the_order_given() -> None:
    assert parse_goals(["B", "a", "b"]) == ("b", "a")


@pytest.mark.parametrize("goals", [None, [], (), ""])
def test_no_goals_are_refused_as_such(goals: object) -> None:
    with pytest.raises(NoGoals):
        parse_goals(goals)


@pytest.mark.parametrize(
    ("goals", "text"),
    [
        ("price", "is not a list"),
        (7, "is not a list"),
        ([7], r"goals\[0\]: `7` is not a step id"),
        (["a", "b c"], r"goals\[1\]: `b c` is not a step id"),
        ([f"g{n}" for n in range(65)], "65 goals"),
    ],
)
def test_goals_that_are_no_step_ids_are_refused(goals: object, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        parse_goals(goals)


def test_initial_values_are_lists_by_name_and_a_name_without_values_is_not_given() -> None:
    assert list(parse_init({"b": (1, None), "a": [[]], "c": []}).items()) == [("a", [[]]), ("b", [1, None])]
    assert parse_init(None) == {}


@pytest.mark.parametrize(
    ("init", "text"),
    [
        ([], "init: is not an object"),
        ({"a": 1}, r"init\.a: is not a list \(give the values as a list: \[value\]\)"),
        ({"a": "x"}, r"init\.a: is not a list"),
        ({"a": [{"b": {1}}]}, r"init\.a\[0\]\.b: a value of the Python type"),
        ({"": [1]}, "init: `` is not a name"),
        ({1: [1]}, "init: `1` is not a name"),
        ({"\ud800": [1]}, r"init: `\\ud800` is not a name"),
        ({str(n): [1] for n in range(129)}, r"init: has 129 names \(use at most 128\)"),
        ({"a": 1, "b": [float("nan")]}, r"init\.a: .*; init\.b\[0\]: "),
    ],
)
def test_initial_values_of_another_shape_are_refused(init: object, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        parse_init(init)


def test_labels_are_texts_in_key_order() -> None:
    assert list(parse_labels({"b": "", "a": "x y"}).items()) == [("a", "x y"), ("b", "")]
    assert parse_labels(None) == {}


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        ("a=b", "labels: is not an object"),
        ({"a": None}, r"labels\.a: is not a label value"),
        ({"a": "x" * 257}, r"labels\.a: is not a label value"),
        ({"a": "x\n"}, r"labels\.a: is not a label value"),
        ({"a=": "x"}, r"labels\.a=: is not a label key"),
        ({str(n): "x" for n in range(33)}, "labels: has 33 names"),
    ],
)
def test_labels_of_another_shape_are_refused(labels: object, text: str) -> None:
    with pytest.raises(InvalidInput, match=text):
        parse_labels(labels)


def test_metadata_holds_any_json_by_name() -> None:
    assert list(parse_metadata({"b": {"x": (1,)}, "a": None}).items()) == [("a", None), ("b", {"x": [1]})]
    with pytest.raises(InvalidInput, match=r"metadata\.a: a whole number beyond 64 bit"):
        parse_metadata({"a": 2**64})
