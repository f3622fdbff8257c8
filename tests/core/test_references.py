"""Events: the keys of their data, references instead of values, causes, and reading them."""

from __future__ import annotations

from typing import Any

import pytest
from given import ENGINE, OPERATOR, TIMER, WEBHOOK, World, each, named, script, step

from argyll_redis.core.commands import Accepted, Broken, Report, Succeeded, Unfinished
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import EVENTS, Recorded, parse_event
from argyll_redis.core.plan import plan_to_json
from argyll_redis.core.state import Draft, Flow
from argyll_redis.errors import InvariantBroken, UnknownEvent

BIG = "a value that is stored once"


def chain() -> World:
    return World(step("a", "x", "p"), step("b", "p", "q"), goals="b", x=BIG)


def shown(world: World) -> list[dict[str, Any]]:
    """The data of every event in full, as API, CLI and export show it."""
    flow, found = Flow(world.flow.id), list[dict[str, Any]]()
    for recorded in world.log:
        draft = Draft(flow)
        draft.version = recorded.version
        recorded.event.apply(draft, recorded.version)
        found.append(recorded.event.expand(draft))
        draft.merge(first=recorded.version, at=recorded.at, tx=recorded.tx)
    return found


# ------------------------------------------------------------------------- keys


def eventful() -> World:
    """A flow whose log has every kind of event that this version appends."""
    config = {"timeout": 1_000, "init_backoff": 10, "on_failure": "tolerate", "parallelism": 2}
    fans = step("fans", "", "list", attributes={"n": each()}, work_config=config, predicate=script("n != 3"))
    world = World(
        fans,
        step("picky", "x", "hint", predicate=script("False")),
        step("bad", "x", "hint2", predicate=script("fail()")),
        step("goal", "list", "z", may="hint hint2"),
        step("other", "x", "w"),
        goals="goal other",
        n=[1, 2, 3],
        x=1,
    )
    world.accept("fans", item=0)
    world.fall_short("fans", item=1)
    world.wait(10)
    world.fail("fans", item=1)
    world.complete("fans", 0, list=1)
    world.complete("fans", 0, list=2)
    world.succeed("goal", z=1)
    world.fail("other")
    return world


KEYS = {
    "flow_started": {"plan", "init", "seed", "metadata", "labels", "options", "catalog_version"},
    "step_started": {"step", "inputs", "items"},
    "work_started": {"step", "token", "attempt", "reason"},
    "work_accepted": {"step", "token", "attempt", "timeout_ms"},
    "work_succeeded": {"step", "token", "attempt", "outputs", "ran_ms"},
    "work_failed": {"step", "token", "attempt", "error"},
    "work_not_completed": {"step", "token", "attempt", "error"},
    "work_retry_scheduled": {"step", "token", "attempt", "delay_ms"},
    "work_skipped": {"step", "token"},
    "work_ignored": {"step", "token", "attempt", "reason"},
    "attribute_set": {"name", "step"},
    "step_completed": {"step"},
    "step_failed": {"step", "error", "root_cause", "inputs"},
    "step_skipped": {"step", "reason", "inputs"},
    "flow_failed": {"error", "root_cause"},
    "flow_deactivated": {"status"},
}


def test_the_keys_of_an_events_data_are_those_of_the_contract() -> None:
    world = eventful()
    first: dict[str, set[str]] = {}
    for recorded in world.log:
        first.setdefault(recorded.event.type, set(recorded.event.data()))
    assert first == KEYS


def test_a_completed_flow_says_its_result_only_when_shown() -> None:
    world = chain()
    world.succeed("a", p=1)
    world.succeed("b", q=2)
    assert world.last("flow_completed").event.data() == {}
    assert shown(world)[-2] == {"result": {"q": 2}}


def test_every_event_of_a_step_names_it_and_every_event_of_work_its_token() -> None:
    for recorded in eventful().log:
        kind, data = recorded.event.type.partition("_")[0], recorded.event.data()
        assert ("step" in data) == (kind in ("step", "work", "attribute"))
        assert ("token" in data) == (kind == "work")


def test_the_options_of_a_start_are_recorded_with_it() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1, linger_ms=5, timeout_ms=7)
    assert world.last("flow_started").event.data()["options"] == {"linger_ms": 5, "timeout_ms": 7}


def test_a_scheduled_retry_names_the_attempt_that_will_start() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.fall_short("a")
    assert world.last("work_retry_scheduled").event.data()["attempt"] == 2


def test_a_memo_hit_is_recorded_as_such() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.report("a", Succeeded({"y": 1}, ran_ms=0, memo=True))
    assert world.last("work_succeeded").event.data()["memo"] is True


def test_a_success_says_how_long_it_ran() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.report("a", Succeeded({"y": 1}, ran_ms=12))
    assert world.last("work_succeeded").event.data()["ran_ms"] == 12


# -------------------------------------------------------------------- stored once


def test_a_value_is_stored_once_in_a_flows_log() -> None:
    world = chain()
    world.succeed("a", p="what a made")
    world.succeed("b", q="what b made")
    stored = str([recorded.event.data() for recorded in world.log])
    assert [stored.count(text) for text in (BIG, "what a made", "what b made")] == [1, 1, 1]


def test_an_input_taken_from_an_attribute_is_a_reference_to_one_of_its_values() -> None:
    assert chain().last("step_started").event.data()["inputs"] == {"x": {"attribute": "x", "index": 0}}


def test_a_const_and_a_default_are_values_of_their_own() -> None:
    attributes = {
        "k": named(role="const", value="[1]"),
        "d": named(role="optional", default="null"),
    }
    world = World(step("a", "", "y", attributes=attributes), goals="a")
    assert world.last("step_started").event.data()["inputs"] == {"d": {"value": None}, "k": {"value": [1]}}


def test_a_value_that_looks_like_a_reference_is_taken_for_a_value() -> None:
    trap = {"attribute": "y", "index": 0, "value": 1}
    world = World(step("a", "x", "y"), goals="a", x=trap)
    assert {"x": trap} == world.inputs("a")


def test_a_plan_is_stored_by_its_hash_and_shown_in_full() -> None:
    world = chain()
    assert world.last("flow_started").event.data()["plan"] == "plan-hash"
    assert plan_to_json(world.plan) == shown(world)[0]["plan"]


def test_the_seed_never_leaves_the_log() -> None:
    assert "seed" not in shown(chain())[0]


def test_a_started_step_is_shown_with_its_inputs_and_its_items_tokens_in_order() -> None:
    world = World(step("a", "", "y", attributes={"n": each()}), goals="a", n=[1, 2])
    expected = {
        "step": "a",
        "inputs": {"n": [1, 2]},
        "items": 2,
        "tokens": [world.token("a", 0), world.token("a", 1)],
    }
    assert expected == shown(world)[1]


def test_an_attribute_is_shown_with_its_value() -> None:
    world = chain()
    world.succeed("a", p="made")
    assert shown(world)[4] == {"name": "p", "value": "made", "step": "a"}


def test_a_failed_step_is_shown_with_the_inputs_it_had() -> None:
    world = World(step("a", "x", "y", predicate=script("fail()")), goals="a", x=5)
    assert shown(world)[1]["inputs"] == {"x": 5}


# ------------------------------------------------------------------------- causes


def causes(world: World) -> dict[str, str]:
    """For the last event of each line, the line of its cause; 0 for what came from outside."""
    lines = ["0", *world.lines()]
    return {lines[recorded.version]: lines[recorded.cause] for recorded in world.log}


def test_the_outcome_of_a_call_follows_from_the_release_of_its_attempt_and_the_rest_from_it() -> None:
    world = chain()
    world.succeed("a", p=1)
    world.succeed("b", q=1)
    assert causes(world) == {
        "flow_started": "0",
        "step_started a": "flow_started",
        "work_started a #1 first": "step_started a",
        "work_succeeded a #1": "work_started a #1 first",
        "attribute_set p by a": "work_succeeded a #1",
        "step_completed a": "work_succeeded a #1",
        "step_started b": "attribute_set p by a",
        "work_started b #1 first": "step_started b",
        "work_succeeded b #1": "work_started b #1 first",
        "attribute_set q by b": "work_succeeded b #1",
        "step_completed b": "work_succeeded b #1",
        "flow_completed": "step_completed b",
        "flow_deactivated": "flow_completed",
    }


def test_a_retry_follows_from_what_scheduled_it_and_a_replacement_from_what_was_lost() -> None:
    world = World(step("a", "x", "y", work_config={"init_backoff": 1}), goals="a", x=1)
    world.fall_short("a")
    world.wait(1)
    world.lose("a")
    told = causes(world)
    assert told["work_not_completed a #1: not yet"] == "work_started a #1 first"
    assert told["work_retry_scheduled a #2 1"] == "work_not_completed a #1: not yet"
    assert told["work_started a #2 retry"] == "work_retry_scheduled a #2 1"
    assert told["work_started a #3 lost"] == "work_started a #2 retry"


def test_the_outcome_of_a_superseded_attempt_has_that_attempts_release_as_cause() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    released = world.flow.version
    world.lose("a")
    world.say(Report(ENGINE, world.token("a"), Succeeded({"y": 1}), 1, released))
    assert released == world.last("work_succeeded").cause


@pytest.mark.parametrize("by", [WEBHOOK, OPERATOR])
@pytest.mark.parametrize("outcome", [Succeeded({}), Broken("no"), Unfinished("later")])
def test_what_came_from_outside_has_no_cause(by: str, outcome: Any) -> None:
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.accept("a")
    before = world.flow.version
    world.report("a", outcome, by=by)
    assert world.log[before].cause == 0
    assert by == world.log[before].by


def test_a_cancel_and_a_flows_own_timeout_have_no_cause() -> None:
    world = World(step("a", "x", "y"), goals="a", x=1, timeout_ms=5)
    world.wait(5)
    assert world.last("flow_failed").cause == 0
    world = World(step("a", "x", "y"), goals="a", x=1)
    world.cancel()
    assert world.last("flow_failed").cause == 0


def test_an_expired_acceptance_is_the_cause_of_what_its_timeout_brings() -> None:
    world = World(step("a", "x", "y", work_config={"timeout": 5}), goals="a", x=1)
    world.accept("a")
    world.wait(5)
    assert causes(world)["work_not_completed a #1: timed out"] == "work_accepted a #1 5"


def test_what_is_abandoned_follows_from_what_made_it_needless() -> None:
    world = World(step("a", "x", "y"), step("b", "x", "z"), goals="a b", x=1, linger_ms=5)
    world.fall_short("a")
    world.accept("b")
    world.cancel()
    world.wait(5)
    told = causes(world)
    assert told["work_failed a #1: abandoned"] == "flow_failed: cancelled"
    assert told["work_failed b #1: abandoned"] == "flow_failed: cancelled"


def test_what_a_look_starts_follows_from_what_made_it_possible() -> None:
    names = [f"s{i:03}" for i in range(150)]
    world = World(
        step("a", "x", "p"),
        *[step(name, "p", f"q{name}") for name in names],
        step("goal", " ".join(f"q{name}" for name in names), "z"),
        goals="goal",
        x=1,
    )
    world.succeed("a", p=1)
    world.look_on()
    told = causes(world)
    assert {"attribute_set p by a"} == {told[f"step_started {name}"] for name in names}
    assert all(f"step_started {name}" == told[f"work_started {name} #1 first"] for name in names)


def test_a_failure_that_spreads_follows_step_by_step() -> None:
    world = World(step("a", "x", "p"), step("b", "p", "q"), step("c", "q", "r"), goals="c", x=1)
    world.fail("a")
    told = {text.partition(":")[0]: cause.partition(":")[0] for text, cause in causes(world).items()}
    assert told["step_failed a"] == "work_failed a #1"
    assert told["step_failed b"] == "step_failed a"
    assert told["step_failed c"] == "step_failed b"
    assert told["flow_failed"] == "step_failed c"


def test_every_cause_comes_before_what_it_led_to() -> None:
    for recorded in eventful().log:
        assert 0 <= recorded.cause < recorded.version


def test_what_follows_from_a_command_is_by_whoever_gave_it() -> None:
    world = chain()
    world.succeed("a", p=1)
    world.complete("b", q=1, by=WEBHOOK)
    assert [recorded.by for recorded in world.log] == ["start:c1"] * 3 + [ENGINE] * 5 + [WEBHOOK] * 5


def test_a_timer_decides_in_its_own_name() -> None:
    world = World(step("a", "x", "y", work_config={"init_backoff": 1}), goals="a", x=1)
    world.fall_short("a")
    world.wait(1)
    assert world.log[-1].by == TIMER


# ------------------------------------------------------------------------- reading


def reread(world: World) -> list[Recorded]:
    """The log as it comes from a store: each event made again from its type and data."""
    return [
        recorded._replace(
            event=parse_event(
                recorded.event.type,
                recorded.event.data(),
                plan=world.plan if recorded.event.type == "flow_started" else None,
            )
        )
        for recorded in world.log
    ]


def test_every_event_survives_being_stored() -> None:
    world = eventful()
    assert world.log == reread(world)


def test_the_log_alone_gives_the_state() -> None:
    world = eventful()
    assert world.flow.picture() == evolve(Flow("f1"), reread(world)).picture()


def test_folding_asks_no_script() -> None:
    world = eventful()
    asked = len(world.scripts.asked)
    world.refold()
    assert asked == len(world.scripts.asked)


def test_a_flow_is_at_every_version_what_it_was_then() -> None:
    world = chain()
    world.succeed("a", p=1)
    flow = evolve(Flow("f1"), world.log[:3])
    assert (flow.version, [str(run.status) for run in flow.steps.values()]) == (3, ["active", "pending"])


def test_an_event_of_an_unknown_type_is_refused_and_never_dropped() -> None:
    with pytest.raises(UnknownEvent, match="deadline_started"):
        parse_event("deadline_started", {"step": "a"})


def test_an_event_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(UnknownEvent, match="cannot read"):
        parse_event("step_completed", {"step": "a", "new": 1})


def test_a_gap_in_a_log_is_refused() -> None:
    world = chain()
    with pytest.raises(InvariantBroken, match="version 3 cannot follow 1"):
        evolve(Flow("f1"), [world.log[0], world.log[2]])


def test_an_event_that_comes_twice_is_refused() -> None:
    world = chain()
    with pytest.raises(InvariantBroken, match="cannot follow"):
        evolve(Flow("f1"), [*world.log, world.log[-1]])


def test_an_event_that_no_state_allows_is_refused() -> None:
    world = chain()
    forged = world.log[-1]._replace(version=4, tx="t9", event=EVENTS["step_completed"](step="b"))
    with pytest.raises(InvariantBroken, match="step b cannot go from pending to completed"):
        evolve(Flow("f1"), [*world.log, forged])


def test_the_time_of_a_version_is_that_of_its_transaction() -> None:
    world = chain()
    start_ms = world.now_ms
    world.wait(50)
    world.succeed("a", p=1)
    assert [0, start_ms, start_ms, start_ms, start_ms + 50] == [world.flow.at_of(v) for v in range(5)]


def test_an_accepted_outcome_is_on_record_with_what_is_left_of_its_time() -> None:
    world = World(step("a", "x", "y", work_config={"timeout": 100}), goals="a", x=1)
    world.report("a", Accepted(elapsed_ms=30))
    assert world.last("work_accepted").event.data()["timeout_ms"] == 70
