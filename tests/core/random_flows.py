"""Random catalogs and random fates: flows of which a property has to hold, whatever becomes of them.

One seed makes one flow and one course of events, so that a failing example is a number. Everything
the core has is drawn from: alternatives, optional inputs, `for_each`, predicates that raise, collect
policies and match gates, deadlines, mapping scripts and steps that know how to undo (each in half of
the flows), every retry policy,
and every kind of outcome: late, double, from outside, of attempts that were superseded or never ran.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from random import Random
from typing import Any, NamedTuple

from given import (
    ENGINE,
    OPERATOR,
    TIMER,
    WEBHOOK,
    World,
    each,
    entry_of,
    gate,
    is_undo,
    loss_of,
    named,
    plan_for,
    report_of,
    script,
    step,
)

from argyll_redis.core.commands import (
    Abandon,
    Accepted,
    Broken,
    Cancel,
    Command,
    Look,
    Outcome,
    Report,
    Succeeded,
    Unfinished,
)
from argyll_redis.core.model import JSON, Token
from argyll_redis.core.state import WorkItem, WorkStatus

ATTRIBUTES = 8
"""Attribute `a0` comes from outside, the others from steps or from outside."""
STEPS = 10
TURNS = 60
"""Turns of random fate, before what is left is delivered."""
MAX_TURNS = 2_000
"""Turns within which every flow has to end."""
PREDICATES = (None,) * 30 + ("True", "False", "fail()", "odd(names)", "odd(names)")

MAPPINGS = ("value", "[value, value]", "nothing", "value[:2]", "{'of': value}")
"""The fourth one raises for all but lists and texts."""


class Has(NamedTuple):
    """What a random flow may have."""

    gates: bool
    deadlines: bool
    mappings: bool
    undos: bool


Visit = Callable[[World, Sequence[Command]], None]
"""Called before each turn with the commands that it will decide."""

# ----------------------------------------------------------------------- catalogs


def random_world(
    rng: Random, *, rename: Callable[[str], str] = lambda id: id, is_spread: bool = True
) -> World:
    """Starts a random flow; its steps are named `s0`, `s1`, ..., or what `rename` makes of that. Delays
    are spread (which hangs on tokens, and so on names) or not."""
    request = _request(rng)
    while request is None:
        request = _request(rng)
    steps, goals, init = request
    for each_step in steps:
        each_step["id"] = rename(each_step["id"])
        each_step["work_config"]["jitter"] *= is_spread
    return World(
        *steps,
        goals=" ".join(rename(goal) for goal in goals),
        init=init,
        linger_ms=rng.choice((50, 500)),
        timeout_ms=rng.choice((0, 0, 0, 0, 400)),
        compensate=rng.choice((None, None, "flow")),
    )


def _request(rng: Random) -> tuple[list[dict[str, Any]], list[str], dict[str, list[JSON]]] | None:
    """Steps, goals and initial values; None when no values are enough."""
    has = Has(*(rng.random() < 0.5 for _ in range(4)))
    steps = [_step(rng, f"s{i}", has) for i in range(rng.randint(1, STEPS))]
    last = [each["id"] for each in sorted(steps, key=lambda each: -max(_outputs(each)))]
    goals = rng.sample(last[:4], rng.randint(1, min(3, len(steps))))
    init = {"a0": [_value(rng) for _ in range(rng.choice((1, 1, 2)))]}
    for i in range(1, ATTRIBUTES):
        if rng.random() < 0.1:
            init[f"a{i}"] = [_value(rng)]
    for _ in range(ATTRIBUTES):
        missing = plan_for(steps, " ".join(goals), init).required
        if not missing:
            return steps, goals, init
        init.update({name: [_value(rng)] for name in missing})
    return None


def _step(rng: Random, id: str, has: Has) -> dict[str, Any]:
    """A step whose inputs come before its outputs in the order of attributes, so that nothing goes round."""
    first = rng.randint(1, ATTRIBUTES - 1)
    outputs = sorted({first, rng.randint(first, ATTRIBUTES - 1)} if rng.random() < 0.4 else {first})
    inputs = rng.sample(range(first), rng.randint(min(1, first - 1), min(3, first)))
    attributes = {f"a{i}": _input(rng, has, rng.choice(("", "", f"inner{i}"))) for i in inputs}
    attributes.update({f"a{i}": named(role="output") for i in outputs})
    if has.mappings:
        for spec in attributes.values():
            _map(rng, spec)
    splits = any(spec.get("required", {}).get("for_each") for spec in attributes.values())
    source = rng.choice((*PREDICATES, *["odd(names)"] * 6) if splits else PREDICATES)
    more: dict[str, Any] = {"predicate": script(source)} if source else {}
    if has.undos and rng.random() < 0.6:
        more["python"] = {"handler": id, "undo": f"{id}.undo"}
    return step(id, attributes=attributes, work_config=_work_config(rng), **more)


def _outputs(given: Mapping[str, Any]) -> list[int]:
    return [int(name[1:]) for name, spec in given["attributes"].items() if spec["role"] == "output"]


def _map(rng: Random, spec: dict[str, Any]) -> None:
    """Gives some attributes a mapping script."""
    if rng.random() < 0.3:
        spec[spec["role"]].setdefault("mapping", {})["script"] = script(rng.choice(MAPPINGS))


def _input(rng: Random, has: Has, inner: str) -> dict[str, Any]:
    kind, has_gates = rng.random(), has.gates
    if kind < 0.25:
        return each(inner)
    if kind < 0.45:
        given: dict[str, Any] = {"default": rng.choice(("1", "[1, 2]"))} if kind < 0.33 else {}
        if has.deadlines:
            given["deadline"] = rng.choice((0, 1, 30, 90, 250))
        return named(inner, role="optional", collect=_collect(rng, has_gates), **given)
    if has_gates and kind < 0.65:
        return gate(
            rng.choice(("True", "value", "value", "odd({'': value})", "fail()")), collect=_collect(rng, True)
        )
    return named(inner, collect=_collect(rng, has_gates))


def _collect(rng: Random, has_gates: bool) -> str:
    return rng.choice((*["first"] * 6, "last", "some", "all", "none")) if has_gates else "first"


def _work_config(rng: Random) -> dict[str, Any]:
    return {
        "parallelism": rng.randint(1, 3),
        "on_failure": rng.choice(("fail_fast", "fail_fast", "finish", "tolerate")),
        "max_retries": rng.choice((-1, 1, 2)),
        "max_attempts": rng.choice((0, 0, 0, 1, 3)),
        "init_backoff": rng.choice((1, 30)),
        "backoff_type": rng.choice(("fixed", "linear", "exponential")),
        "jitter": rng.choice((0, 0.5)),
        "timeout": rng.choice((0, 0, 60)),
    }


def _value(rng: Random) -> JSON:
    """Mostly arrays, so that `for_each` has something to do."""
    kind = rng.random()
    return [rng.randint(0, 3) for _ in range(rng.randint(0, 5))] if kind < 0.9 else rng.choice((0, 1, "text"))


# -------------------------------------------------------------------------- fates


def random_commands(rng: Random, world: World) -> list[Command]:
    """What happens next: mostly one command, sometimes several at once. An entry that is answered is
    acknowledged, as its turn will do."""
    if world.control and rng.random() < 0.5:
        world.control.pop(0)
        return [Look(TIMER)]
    return [command for _ in range(rng.choice((1, 1, 1, 2, 3))) if (command := _command(rng, world))]


def _command(rng: Random, world: World) -> Command | None:
    kind = rng.random()
    if kind < 0.03:
        return Look(TIMER)
    if kind < 0.033:
        return Cancel(OPERATOR)
    if kind < 0.30 and world.flow.tokens:
        return _from_outside(rng, world)
    return _from_an_engine(rng, world) if world.work else None


def _from_outside(rng: Random, world: World) -> Command:
    """Any outcome of any work item, by whoever has its token, perhaps of an attempt that is not the
    current one."""
    token = rng.choice(sorted(world.flow.tokens))
    attempt = rng.choice((None, None, None, 0, 1, 2, 9))
    return Report(rng.choice((WEBHOOK, OPERATOR)), token, _outcome(rng, accepts=False), attempt)


def _from_an_engine(rng: Random, world: World) -> Command:
    payload = rng.choice(sorted(world.work))
    del world.work[payload]
    token, attempt, _ = entry_of(payload)
    kind = rng.random()
    if kind < 0.15:
        return loss_of(payload)
    if kind < 0.2 and not is_undo(payload):
        found = world.flow.find(token)
        assert found is not None
        if world.flow.is_over or world.run(found[0]).status != "active":
            return Abandon(ENGINE, token, attempt)
    return report_of(payload, _outcome(rng))


def _outcome(rng: Random, *, accepts: bool = True) -> Outcome:
    kind = rng.random()
    if kind < 0.6:
        return Succeeded({f"a{i}": _value(rng) for i in range(ATTRIBUTES) if rng.random() < 0.9})
    if kind < 0.7:
        return Broken("broken")
    if kind < 0.85 or not accepts:
        return Unfinished("not yet", rng.choice((None, None, 0, 5)))
    return Accepted(rng.choice((0, 10)))


def live(seed: int, visit: Visit = lambda world, commands: None) -> World:
    """Lives through a random flow until it is deactivated; `visit` sees every turn before it is decided."""
    rng = Random(seed)
    world = random_world(rng)
    for _ in range(TURNS):
        if world.flow.is_deactivated:
            return world
        if rng.random() < 0.2:
            world.wait(rng.choice((1, 20, 100)))
        commands = random_commands(rng, world)
        if commands:
            visit(world, commands)
            world.say(*commands)
    deliver(rng, world)
    return world


def deliver(rng: Random, world: World) -> None:
    """Delivers what is released, completes what is waited for and lets time pass, until the flow is
    deactivated; raises when it never is."""
    for _ in range(MAX_TURNS):
        if world.flow.is_deactivated:
            return
        if world.control:
            world.control.pop(0)
            world.say(Look(TIMER))
        elif world.work:
            world.say(_final(rng, world))
        elif items := list(waited_for(world)):
            world.say(Report(WEBHOOK, items[0].token, Succeeded({})))
        else:
            assert world.due, f"the flow sleeps for ever: {world.statuses()}"
            world.wait(max(0, min(world.due.values()) - world.now_ms))
    raise AssertionError(f"the flow comes to no end: {world.statuses()}")


def _final(rng: Random, world: World) -> Command:
    payload = min(world.work)
    del world.work[payload]
    outputs = {f"a{i}": _value(rng) for i in range(ATTRIBUTES)}
    outcome = Succeeded(outputs) if rng.random() < 0.8 else Broken("broken")
    return report_of(payload, outcome)


def waited_for(world: World) -> Iterator[WorkItem]:
    """The items whose outcome comes from elsewhere."""
    for run in world.flow.steps.values():
        for item in run.items.values():
            if item.status is WorkStatus.ACTIVE and item.accepted_version:
                yield item


# ---------------------------------------------------------------- the same elsewhere


def retell(seed: int, rename: Callable[[str], str]) -> tuple[str, Mapping[str, bool]]:
    """Lives through a flow whose fate hangs on what its steps are, not on what they are called: gives
    its status, and which steps (by their first names) have started."""
    first_names = {rename(f"s{i}"): f"s{i}" for i in range(STEPS)}
    world = random_world(Random(seed), rename=rename, is_spread=False)

    def place(payload: str) -> tuple[str, int, int, bool]:
        token, attempt, _ = entry_of(payload)
        id, index = world.flow.tokens[token]
        return first_names[id], index, attempt, is_undo(payload)

    def turn(member: str) -> tuple[str, ...]:
        """Steps for their tokens and names, so that names don't decide what comes first."""
        _, _, kind, *words = member.split(" ")
        if words and kind == "deadline":
            return kind, first_names[words[0]], *words[1:]
        id, index = world.flow.find(Token(words[0])) or ("", 0) if words else ("", 0)
        return kind, first_names.get(id, id), str(index)

    while not world.flow.is_deactivated:
        if not world.work:
            world.wait(max(0, min(world.due.values()) - world.now_ms), turn=turn)
            continue
        payload = min(world.work, key=place)
        rng = Random(f"{seed} {place(payload)}")
        del world.work[payload]
        outcome = _outcome(rng, accepts=False)
        world.say(report_of(payload, outcome))
    started = {first_names[id]: run.started_version > 0 for id, run in world.flow.steps.items()}
    return world.flow.status, dict(sorted(started.items()))
