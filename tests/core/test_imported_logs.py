"""A log in full, as it is exported, tells the same as the log it came from, and an audit sees through it.

Random flows are put into the form that an export has and folded from that: every view of the two is equal.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from definitions import optional, required, step
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_flows import live
from story import Story, each

from argyll_redis.core.audit import Violation, audit_log
from argyll_redis.core.commands import IMPORTED, Cancel, Look, Report, Succeeded
from argyll_redis.core.decide import decide, evolve
from argyll_redis.core.events import Recorded, parse_event
from argyll_redis.core.explain import explain
from argyll_redis.core.history import History
from argyll_redis.core.model import Token
from argyll_redis.core.parse_plan import parse_plan
from argyll_redis.core.plan_json import plan_to_json
from argyll_redis.core.state import Flow
from argyll_redis.errors import InvariantBroken
from argyll_redis.views import flow_state, show_events

SEEDS = st.integers(0, 2**32)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def in_full(flow_id: str, events: Sequence[Recorded]) -> list[Recorded]:
    """A log as whoever imports it reads it: every event from its data in full."""
    found: list[Recorded] = []
    for recorded, shape in zip(events, list(show_events(Flow(flow_id), events)), strict=True):
        data, plan = json.loads(json.dumps(shape["data"])), None
        if shape["type"] == "flow_started":
            assert "seed" not in data
            plan = parse_plan(data["plan"])
            data |= {"plan": "plan-hash", "seed": ""}
        found.append(recorded._replace(event=parse_event(shape["type"], data, plan=plan)))
    return found


def audited(flow_id: str, events: Sequence[Recorded]) -> list[Violation]:
    try:
        status = str(evolve(Flow(flow_id), events).status)
    except Exception:
        status = "active"
    last = events[-1]
    return audit_log(flow_id, events, head_version=last.version, head_tx=last.tx, status=status)


def shown(flow_id: str, events: Sequence[Recorded]) -> list[dict[str, Any]]:
    return list(show_events(Flow(flow_id), events))


# ------------------------------------------------------------------- any flow


@given(seed=SEEDS)
@quick
def test_a_log_in_full_is_shown_explained_and_audited_as_the_log_it_came_from(seed: int) -> None:
    world = live(seed)
    id, now_ms = world.flow.id, world.now_ms
    full = in_full(id, world.log)
    flow = evolve(Flow(id), full)
    assert flow.is_imported
    assert flow_state(flow) == flow_state(world.flow)
    assert shown(id, full) == shown(id, world.log)
    assert audited(id, full) == []
    for step_id in flow.plan.steps:
        told = [explain(id, log, step_id, now_ms=now_ms) for log in (full, world.log)]
        assert told[0] == told[1]


@given(seed=SEEDS)
@quick
def test_where_inputs_came_from_is_found_out_as_it_was_recorded(seed: int) -> None:
    world = live(seed)
    found, recorded = (History(world.flow.id, log) for log in (in_full("f", world.log), world.log))
    assert unmapped(found) == unmapped(recorded)


def unmapped(history: History) -> dict[str, Any]:
    """Where inputs without a mapping script came from; what a script made tells nobody."""
    return {
        id: {
            attribute.inner: inputs.sources.get(attribute.inner)
            for attribute in history.flow.plan.steps[id].inputs
            if attribute.mapping is None or attribute.mapping.script is None
        }
        for id, inputs in history.inputs.items()
    }


@given(seed=SEEDS)
@quick
def test_a_log_in_full_that_is_put_in_full_again_is_the_same(seed: int) -> None:
    once = in_full("f", live(seed).log)
    assert in_full("f", once) == once


@given(seed=SEEDS, cut=st.integers(1, 100))
@quick
def test_the_beginning_of_a_log_in_full_shows_the_flow_as_it_was(seed: int, cut: int) -> None:
    world = live(seed)
    part = world.log[:cut]
    assert flow_state(evolve(Flow("f"), in_full("f", part))) == flow_state(evolve(Flow("f"), part))


# --------------------------------------------------------------------- by hand


def many() -> Story:
    """Two of three items are over, and then the last one."""
    story = Story([step("charge", "", "receipt", attributes=each("xs"))], "charge", {"xs": [["a", "b", "c"]]})
    for item in range(3):
        story.succeed("charge", item, receipt=item)
    return story


def chosen() -> Story:
    """Inputs by every policy, from values that are equal, like and unlike."""
    steps = [
        step("one", "", "x", attributes={"k": required()}),
        step("two", "", "x", attributes={"k": required()}),
        step("last", "", "of_last", attributes={"x": required("last")}),
        step("some", "", "of_some", attributes={"x": required("some")}),
        step("all", "", "of_all", attributes={"x": required("all"), "gone": optional()}),
    ]
    story = Story(steps, "last some all", {"k": [0], "x": [1]})
    story.succeed("two", x=True)
    story.succeed("one", x=1)
    return story


def test_values_that_only_look_alike_are_told_apart() -> None:
    story = chosen()
    history = History("flow-1", in_full("flow-1", story.events))
    sources = {id: dict(inputs.sources) for id, inputs in history.inputs.items() if id in ("all", "some")}
    assert sources == {
        "some": {"x": {"attribute": "x", "indexes": [0, 1, 2]}},
        "all": {"x": {"attribute": "x", "indexes": [0, 2, 1]}},
    }


def test_tokens_are_those_that_are_listed() -> None:
    story = many()
    flow = evolve(Flow("flow-1"), in_full("flow-1", story.events))
    assert [flow.token(id, index) for id in flow.steps for index in range(3)] == [
        story.token("charge", index) for index in range(3)
    ]
    assert (flow.seed, story.flow.is_imported) == ("", False)


def test_nothing_is_decided_on_an_imported_flow_that_was_active() -> None:
    story = Story([step("charge", "order", "receipt")], "charge", {"order": [1]})
    flow = evolve(Flow("flow-1"), in_full("flow-1", story.events))
    report = Report("operator:o", story.token("charge"), Succeeded({}))
    commands = [Cancel("operator:o"), Look("timer:e"), report]
    decision = decide(flow, commands, now_ms=10**9, evaluate=None)  # type: ignore[arg-type]
    assert (decision.events, decision.answers) == ((), (IMPORTED,) * 3)


def test_a_completion_of_an_imported_flow_that_is_over_is_too_late_as_everywhere() -> None:
    story = many()
    flow = evolve(Flow("flow-1"), in_full("flow-1", story.events))
    report = Report("operator:o", story.token("charge"), Succeeded({}))
    decision = decide(flow, [report, Cancel("operator:o")], now_ms=10**9, evaluate=None)  # type: ignore[arg-type]
    assert decision.events == ()
    assert [answer.counted for answer in decision.answers] == [False, False]


def version_of(events: Sequence[Recorded], kind: str, step: str | None = None) -> int:
    """The version of the first event of a type, perhaps of one step."""
    return next(
        each.version
        for each in events
        if each.event.type == kind and step in (None, getattr(each.event, "step", None))
    )


def forged(story: Story, kind: str, of: str | None = None, **fields: Any) -> list[tuple[str, int]]:
    """What an audit finds in a log in full of which one event says something else."""
    events = in_full("flow-1", story.events)
    version = version_of(events, kind, of)
    old = events[version - 1]
    events[version - 1] = old._replace(event=replace(old.event, **fields))  # type: ignore[type-var]
    return [(each.invariant, each.version - version) for each in audited("flow-1", events)]


@pytest.mark.parametrize(
    ("kind", "fields", "invariant"),
    [
        ("attribute_set", {"value": [{"xs": "a", "receipt": 0}]}, "I-11"),
        ("attribute_set", {"value": None}, "I-11"),
        ("flow_completed", {"result": {"receipt": []}}, "I-12"),
        ("flow_completed", {"result": None}, "I-12"),
        ("step_started", {"tokens": ["ab" * 16] * 3}, "I-07"),
        ("step_started", {"tokens": ["x"] * 3}, "I-07"),
        ("step_started", {"tokens": ["ab" * 16, "cd" * 16]}, "I-07"),
        ("step_started", {"tokens": None}, "I-07"),
        ("step_started", {"inputs": {"xs": ["a", "b", "d"]}}, "I-09"),
        ("step_started", {"inputs": {"xs": 3}}, "I-09"),
        ("step_started", {"items": 10**9}, "I-09"),
        ("flow_started", {"seed": "guess"}, "I-07"),
    ],
)
def test_what_does_not_follow_is_found_where_it_stands(
    kind: str, fields: dict[str, Any], invariant: str
) -> None:
    assert (invariant, 0) in forged(many(), kind, **fields)


def test_a_number_in_the_place_of_a_truth_is_found() -> None:
    """For Python they are equal."""
    assert ("I-09", 0) in forged(chosen(), "step_started", "some", inputs={"x": [1, 1, 1]})
    assert ("I-11", 0) in forged(chosen(), "attribute_set", "two", value=1)
    assert forged(chosen(), "step_started", "some", inputs={"x": [1, True, 1]}) == []


def test_a_step_that_does_not_list_its_tokens_cannot_be_folded() -> None:
    events = in_full("flow-1", many().events)
    started = version_of(events, "step_started")
    old = events[started - 1]
    events[started - 1] = old._replace(event=replace(old.event, tokens=[Token("ab" * 16)]))  # type: ignore[type-var]
    with pytest.raises(InvariantBroken, match="does not list its tokens"):
        evolve(Flow("flow-1"), events)


# ---------------------------------------------------------------------- plans


@given(seed=SEEDS)
@quick
def test_a_plan_of_our_own_is_read_as_it_was(seed: int) -> None:
    plan = live(seed).flow.plan
    assert parse_plan(plan_to_json(plan)) == plan
