"""Collect policies, match gates, and who is wanted for them."""

from __future__ import annotations

from typing import Any

import pytest
from given import World, gate, named, plan_for, script, step

from argyll_redis.core import inputs
from argyll_redis.core.inputs import InputState, Want, state_of, want_of
from argyll_redis.core.model import StepId
from argyll_redis.core.plan import plan_from_json, plan_to_json
from argyll_redis.core.state import FlowStatus, RootCause


def collecting(collect: str, *, role: str = "required", default: str | None = None, **init: Any) -> World:
    """Providers `b` and `a` of `v` (declared in that order), and the goal that collects it. With an
    optional input the goal also waits for `w`, so that there is time."""
    given = {"default": default} if default else {}
    goal = step("goal", "w", "z", attributes={"v": named(role=role, collect=collect, **given)})
    return World(
        step("b", "x", "v"), step("a", "x", "v"), step("w", "x", "w"), goal, goals="goal", x=1, **init
    )


def given_values(collect: str, **more: Any) -> Any:
    """What the goal gets when `b` provides first, then `a`, and all else is there."""
    world = collecting(collect, **more)
    world.succeed("b", v="of b")
    world.succeed("a", v="of a")
    world.succeed("w", w=1)
    return world.inputs("goal").get("v", "left out")


def state(world: World, attribute: str = "v", goal: str = "goal") -> InputState:
    return state_of(world.flow, world.plan.steps[StepId(goal)].attributes[attribute], world.scripts)


# ------------------------------------------------------------------------ policies


@pytest.mark.parametrize(
    ("collect", "expected"),
    [("first", "of b"), ("last", "of a"), ("some", ["of b", "of a"]), ("all", ["of a", "of b"])],
)
def test_each_policy_gives_its_values(collect: str, expected: Any) -> None:
    assert given_values(collect) == expected


@pytest.mark.contract("inputs", "Initial values come first; `all` orders the others by provider.")
def test_initial_values_come_first_and_all_orders_the_others_by_provider() -> None:
    assert given_values("some", v="init") == ["init", "of b", "of a"]
    assert given_values("all", v="init") == ["init", "of a", "of b"]
    assert given_values("last", v="init") == "of a"


def test_first_is_fulfilled_by_the_first_value() -> None:
    world = collecting("first")
    assert state(world) is InputState.WAITING
    world.succeed("b", v=1)
    assert state(world) is InputState.FULFILLED


@pytest.mark.parametrize("collect", ["last", "some", "all"])
def test_other_policies_wait_until_every_provider_is_over(collect: str) -> None:
    world = collecting(collect)
    world.succeed("b", v=1)
    assert state(world) is InputState.WAITING
    world.succeed("a", v=2)
    assert state(world) is InputState.FULFILLED


@pytest.mark.parametrize("collect", ["first", "last", "some"])
def test_a_failed_provider_does_not_matter_when_another_provided(collect: str) -> None:
    world = collecting(collect)
    world.fail("b")
    world.succeed("a", v=2)
    assert state(world) is InputState.FULFILLED


@pytest.mark.parametrize("collect", ["last", "some"])
def test_initial_values_are_enough_once_every_provider_is_over(collect: str) -> None:
    world = collecting(collect, v="init")
    world.fail("b")
    world.fail("a")
    assert state(world) is InputState.FULFILLED


@pytest.mark.parametrize("collect", ["first", "last", "some", "all"])
def test_without_any_value_a_policy_cannot_be_met_once_every_provider_is_over(collect: str) -> None:
    world = collecting(collect)
    world.fail("b")
    world.fail("a", "no stock")
    assert state(world) is InputState.IMPOSSIBLE
    assert world.statuses()["goal"] == "failed"


@pytest.mark.parametrize("how", ["fails", "provides nothing"])
def test_all_cannot_be_met_when_one_provider_does_not_provide(how: str) -> None:
    world = collecting("all", v="init")
    if how == "fails":
        world.fail("b", "no stock")
    else:
        world.succeed("b")
    error = "no stock" if how == "fails" else 'completed without "v"'
    assert world.run("goal").error == f'required input no longer available: "v" (step "b": {error})'
    assert world.run("goal").root_cause == RootCause(StepId("b"), error)


@pytest.mark.contract("inputs", "`all` cannot be met when a provider was skipped or provided nothing.")
def test_all_cannot_be_met_when_one_provider_was_skipped() -> None:
    goal = step("goal", "", "z", attributes={"v": named(collect="all")})
    world = World(
        step("a", "x", "v"), step("b", "x", "v", predicate=script("False")), goal, goals="goal", x=1
    )
    assert world.run("goal").error == (
        'required input no longer available: "v" (step "b": skipped (predicate))'
    )


# ---------------------------------------------------------------------------- none


def without(**b: Any) -> World:
    """A step that runs only when `b` provides nothing."""
    goal = step("goal", "", "z", attributes={"v": named(collect="none")})
    return World(step("b", "x", "v", **b), goal, goals="goal", x=1)


def test_none_waits_for_every_provider() -> None:
    assert state(without()) is InputState.WAITING


@pytest.mark.contract("inputs", "`none` takes a failed provider like a skipped one.")
@pytest.mark.parametrize("how", ["fails", "provides nothing", "is skipped"])
def test_none_is_fulfilled_by_a_provider_that_failed_just_as_by_one_that_was_skipped(how: str) -> None:
    world = without(**({"predicate": script("False")} if how == "is skipped" else {}))
    if how == "fails":
        world.fail("b")
    elif how == "provides nothing":
        world.succeed("b")
    assert (world.statuses()["goal"], world.inputs("goal")) == ("active", {})


@pytest.mark.contract("inputs", "`none` fails its step when a value comes.")
def test_none_fails_its_step_when_there_is_a_value() -> None:
    world = without()
    assert 'step_failed goal: input "v" has a value, and the step runs only without one' in world.succeed(
        "b", v=1
    )


# ------------------------------------------------------------------ optional inputs


@pytest.mark.parametrize(
    ("collect", "expected"),
    [("first", "of b"), ("last", "of b"), ("some", ["of b"]), ("all", "left out"), ("none", "left out")],
)
def test_an_optional_input_takes_what_its_policy_can_use_so_far(collect: str, expected: Any) -> None:
    world = collecting(collect, role="optional")
    world.succeed("b", v="of b")
    world.succeed("w", w=1)
    assert world.inputs("goal").get("v", "left out") == expected


@pytest.mark.parametrize("collect", ["first", "last", "some", "all", "none"])
def test_what_an_optional_input_cannot_have_is_its_default(collect: str) -> None:
    world = collecting(collect, role="optional", default="[0]")
    world.succeed("w", w=1)
    assert world.inputs("goal")["v"] == [0]


def test_an_optional_input_with_all_takes_all_when_all_are_there() -> None:
    assert given_values("all", role="optional") == ["of a", "of b"]


# --------------------------------------------------------------------------- gates


def gated(source: str = "value > 5", *, collect: str = "first", gate_name: str = "v", **more: Any) -> World:
    """A goal with a gate on what `g` provides, and another input whose provider needs `deep` first."""
    goal = step("goal", "o", "z", attributes={gate_name: gate(source, collect=collect)})
    return World(
        step("g", "x", gate_name),
        step("deep", "x", "d"),
        step("other", "d", "o"),
        goal,
        goals="goal",
        x=1,
        **more,
    )


def test_what_serves_only_the_other_inputs_is_not_started_while_a_gate_is_undecided() -> None:
    assert gated().statuses() == {"deep": "pending", "g": "active", "goal": "pending", "other": "pending"}


def test_an_open_gate_starts_what_the_other_inputs_need_the_whole_way_up() -> None:
    world = gated()
    assert world.succeed("g", v=6)[3:] == ["step_started deep", "work_started deep #1 first"]
    world.succeed("deep", d=1)
    world.succeed("other", o=1)
    assert world.inputs("goal") == {"o": 1, "v": 6}


def test_a_closed_gate_skips_its_step_and_what_only_that_wanted() -> None:
    world = gated()
    assert world.succeed("g", v=1)[3:] == [
        "step_skipped goal match",
        "step_skipped other unwanted",
        "step_skipped deep unwanted",
        "flow_failed: every goal was closed off by its match gate",
        "flow_deactivated",
    ]


def test_a_step_skipped_by_a_gate_names_the_gate() -> None:
    world = gated()
    world.succeed("g", v=1)
    assert world.run("goal").unsatisfied == ("v",)


def test_a_gate_open_from_the_start_holds_nobody_up() -> None:
    world = gated(v=6)
    assert world.statuses() == {"deep": "active", "goal": "pending", "other": "pending"}


def test_a_gate_closed_from_the_start_skips_at_once() -> None:
    world = World(step("goal", "", "z", attributes={"v": gate("value > 5")}), goals="goal", v=1)
    assert world.first == [
        "flow_started",
        "step_skipped goal match",
        "flow_failed: every goal was closed off by its match gate",
        "flow_deactivated",
    ]


@pytest.mark.parametrize("gate_name", ["v", "a"])
@pytest.mark.parametrize("collect", ["first", "last", "some", "all"])
def test_a_gate_closed_by_the_initial_values_skips_though_its_other_inputs_were_never_planned(
    collect: str, gate_name: str
) -> None:
    goal = step("goal", "o", "z", attributes={gate_name: gate("value > 5", collect=collect)})
    world = World(goal, step("other", "x", "o"), goals="goal", init={gate_name: [1], "x": [1]})
    assert list(world.plan.steps) == ["goal"]
    assert world.first[:2] == ["flow_started", "step_skipped goal match"]


def test_with_none_a_gate_closed_by_an_initial_value_that_matches_skips() -> None:
    goal = step("goal", "o", "z", attributes={"v": gate("value > 5", collect="none")})
    world = World(goal, step("other", "x", "o"), goals="goal", v=6, x=1)
    assert world.first[:2] == ["flow_started", "step_skipped goal match"]


def test_a_provider_whose_gate_the_initial_values_have_closed_is_not_planned() -> None:
    middle = step("middle", "", "m", attributes={"v": gate("value > 5")})
    steps = [middle, step("other", "x", "m"), step("goal", "m", "z")]
    assert list(World(*steps, goals="goal", x=1, v=1).plan.steps) == ["goal", "other"]
    assert list(World(*steps, goals="goal", x=1, v=6).plan.steps) == ["goal", "middle", "other"]


def test_a_gate_takes_the_first_value_that_matches() -> None:
    goal = step("goal", "", "z", attributes={"v": gate("value > 5")})
    world = World(step("a", "x", "v"), step("b", "x", "v"), goal, goals="goal", x=1)
    world.succeed("a", v=1)
    assert world.statuses()["goal"] == "pending"
    world.succeed("b", v=8)
    assert world.inputs("goal") == {"v": 8}


@pytest.mark.contract("inputs", "A policy sees only the values that pass the gate.")
@pytest.mark.parametrize(("collect", "expected"), [("last", 7), ("some", [6, 7])])
def test_policies_see_only_the_values_that_match(collect: str, expected: Any) -> None:
    goal = step("goal", "", "z", attributes={"v": gate("value > 5", collect=collect)})
    steps = [step(id, "x", "v") for id in "abc"]
    world = World(*steps, goal, goals="goal", x=1)
    for id, value in zip("abc", (6, 7, 1), strict=True):
        world.succeed(id, v=value)
    assert world.inputs("goal") == {"v": expected}


@pytest.mark.contract("inputs", "With `all` every value has to pass the gate.")
def test_with_all_every_value_has_to_match_and_one_that_does_not_closes_the_gate() -> None:
    goal = step("goal", "", "z", attributes={"v": gate("value > 5", collect="all")})
    world = World(step("a", "x", "v"), step("b", "x", "v"), goal, goals="goal", x=1)
    assert "step_skipped goal match" in world.succeed("a", v=1)


def test_with_all_a_provider_that_failed_fails_the_step_though_every_value_matches() -> None:
    goal = step("goal", "", "z", attributes={"v": gate("value > 5", collect="all")})
    world = World(step("a", "x", "v"), step("b", "x", "v"), goal, goals="goal", x=1)
    world.succeed("a", v=6)
    world.fail("b")
    assert world.statuses()["goal"] == "failed"


def test_with_none_a_value_that_does_not_match_leaves_the_gate_open() -> None:
    world = gated(collect="none")
    world.succeed("g", v=1)
    assert world.statuses()["deep"] == "active"


def test_with_none_a_value_that_matches_closes_the_gate() -> None:
    assert "step_skipped goal match" in gated(collect="none").succeed("g", v=6)


def test_a_gate_whose_providers_all_failed_is_no_closed_gate_but_a_missing_input() -> None:
    world = gated()
    world.fail("g")
    assert world.statuses()["goal"] == "failed"


def test_a_match_that_raises_fails_its_step() -> None:
    world = gated("value > 'text'")
    world.succeed("g", v=1)
    assert str(world.run("goal").error).startswith('the match of input "v" failed: TypeError')


@pytest.mark.parametrize("gate_name", ["v", "a"])
def test_what_fails_and_is_closed_off_in_one_transaction_fails_whatever_the_names(gate_name: str) -> None:
    """`both` provides the value that closes the gate, but not what `dead` needs to provide `o`."""
    goal = step("goal", "o", "z", attributes={gate_name: gate("value > 5")})
    world = World(step("both", "x", f"{gate_name} e"), step("dead", "e", "o"), goal, goals="goal", x=1)
    world.succeed("both", **{gate_name: 1})
    assert world.statuses()["goal"] == "failed"


def test_two_undecided_gates_do_not_wait_for_each_other() -> None:
    goal = step("goal", "", "z", attributes={"u": gate("value"), "v": gate("value")})
    world = World(step("a", "x", "u"), step("b", "x", "v"), goal, goals="goal", x=1)
    assert world.statuses() == {"a": "active", "b": "active", "goal": "pending"}


def test_a_provider_that_somebody_else_surely_wants_does_not_wait_for_the_gate() -> None:
    goal = step("goal", "o", "z", attributes={"v": gate("value > 5")})
    world = World(
        step("g", "x", "v"), step("other", "x", "o"), step("sure", "o", "s"), goal, goals="goal sure", x=1
    )
    assert world.statuses()["other"] == "active"


def test_a_start_that_leaves_only_a_gate_to_want_a_provider_holds_that_back() -> None:
    """`first` may use the hint and starts without it; `second` wants it behind a gate only."""
    second = step("second", "hint", "z", attributes={"v": gate("value > 5")})
    world = World(
        step("g", "x", "v"),
        step("hints", "x", "hint"),
        step("first", "x", "y", may="hint"),
        second,
        goals="first second",
        x=1,
    )
    assert world.statuses() == {"first": "active", "g": "active", "hints": "pending", "second": "pending"}
    assert "step_started hints" in world.succeed("g", v=6)


def test_a_step_skipped_by_its_gate_fails_those_that_need_what_it_would_have_provided() -> None:
    middle = step("middle", "", "m", attributes={"v": gate("value > 5")})
    world = World(step("g", "x", "v"), middle, step("goal", "m", "z"), goals="goal", x=1)
    world.succeed("g", v=1)
    assert (
        world.run("goal").error == 'required input no longer available: "m" (step "middle": skipped (match))'
    )


# ----------------------------------------------------------------- gates and goals


@pytest.mark.contract("life", "A goal closed off by a gate is done where another one is.")
def test_a_flow_completes_when_one_goal_is_closed_off_and_the_others_are_done() -> None:
    closed = step("closed", "", "c", attributes={"v": gate("value > 5")})
    world = World(closed, step("open", "x", "o"), goals="closed open", x=1, v=1)
    assert "flow_completed" in world.succeed("open", o=1)


def test_a_flow_with_a_goal_that_was_left_out_completes_though_the_other_is_closed_off() -> None:
    closed = step("closed", "", "c", attributes={"v": gate("value > 5")})
    world = World(closed, step("given", "x", "o"), goals="closed given", x=1, v=1, o=2)
    assert world.flow.status is FlowStatus.COMPLETED


# ------------------------------------------------------------------------- wanting


def wants(world: World) -> dict[str, Want]:
    return {id: want_of(world.flow, id, world.scripts) for id in world.plan.steps}


@pytest.mark.contract("life", "What only an undecided gate wants is not started, the whole way up.")
def test_what_is_behind_an_undecided_gate_is_only_perhaps_wanted_the_whole_way_up() -> None:
    assert wants(gated()) == {
        "deep": Want.PERHAPS,
        "g": Want.SURELY,
        "goal": Want.SURELY,
        "other": Want.PERHAPS,
    }


def test_a_gate_of_a_step_that_is_only_perhaps_wanted_is_itself_only_perhaps_wanted() -> None:
    """The second gate is behind the first one."""
    middle = step("middle", "", "m", attributes={"u": gate("value")})
    goal = step("goal", "m", "z", attributes={"v": gate("value")})
    world = World(step("a", "x", "u"), step("b", "x", "v"), middle, goal, goals="goal", x=1)
    assert world.statuses() == {"a": "pending", "b": "active", "goal": "pending", "middle": "pending"}
    world.succeed("b", v=True)
    assert world.statuses()["a"] == "active"


def test_nobody_wants_the_provider_of_an_input_that_has_its_value() -> None:
    world = World(
        step("late", "w", "v"),
        step("a", "x", "v"),
        step("w", "x", "w"),
        step("goal", "v u", "z"),
        step("u", "x", "u"),
        goals="goal",
        x=1,
    )
    assert want_of(world.flow, StepId("late"), world.scripts) is Want.SURELY
    assert "step_skipped late unwanted" in world.succeed("a", v=1)


def looks_of_a_start(monkeypatch: pytest.MonkeyPatch, gates: int) -> int:
    """How often a start of a chain of gated steps looks who uses what a step provides."""
    looks: list[object] = []
    users = inputs._users  # pyright: ignore[reportPrivateUsage]

    def counted(*given: Any) -> Any:
        looks.append(given[1])
        return users(*given)

    with monkeypatch.context() as patch:
        patch.setattr(inputs, "_users", counted)
        chain = [
            step(f"s{n:03}", "", f"v{n + 1:03}", attributes={f"v{n:03}": gate("value >= 0")})
            for n in range(gates)
        ]
        World(*chain, goals=f"s{gates - 1:03}", v000=1)
    return len(looks)


def test_the_cost_of_a_start_follows_the_number_of_gates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step of a chain asks all that follow it, and is answered from what was found before."""
    assert looks_of_a_start(monkeypatch, 80) <= 2.5 * looks_of_a_start(monkeypatch, 40)


# ------------------------------------------------------------------- the plan's flag


def test_a_plan_knows_whether_it_has_gates() -> None:
    plain = plan_for([step("a", "x", "y")], "a", {"x": [1]})
    with_gate = gated().plan
    assert (plain.has_gates, with_gate.has_gates) == (False, True)


def test_a_plan_read_from_a_log_knows_whether_it_has_gates() -> None:
    plan = gated().plan
    assert plan_from_json(plan_to_json(plan)) == plan
    assert plan_from_json(plan_to_json(plan)).has_gates
