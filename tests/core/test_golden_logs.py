"""Logs that earlier versions wrote still fold to the states they had (`tests/golden/flows.jsonl`).

The file has, for each flow, a line with its plan, a line an event as a store keeps it, and a line with
the state. Once a version is released its lines stay as they are, and new flows are added behind them:

    PYTHONPATH=. python tests/core/test_golden_logs.py

writes the file anew from the stories below. A difference in old lines is a break of every log there is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from given import World, each, named, script, step

from argyll_redis.core.commands import Broken, Unfinished
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import EVENTS, Recorded, parse_event
from argyll_redis.core.model import JSON
from argyll_redis.core.plan import plan_from_json, plan_to_json
from argyll_redis.core.state import Flow

GOLDEN = Path(__file__).parent.parent / "golden" / "flows.jsonl"


# ------------------------------------------------------------------------ stories


def order() -> World:
    """Two providers of one attribute, a list of items with all that can happen to them, and a result."""
    charge = step(
        "charge",
        "customer",
        "",
        attributes={
            "item": each("one"),
            "currency": named(role="const", value='"EUR"'),
            "note": named(role="optional", default="null"),
            "receipt": named("paid", role="output"),
        },
        predicate=script("one != 'free'"),
        work_config={"parallelism": 3, "timeout": 60_000, "init_backoff": 100, "on_failure": "tolerate"},
    )
    world = World(
        step("crm", "customer_id", "customer"),
        step("archive", "customer_id", "customer", work_config={"max_attempts": 1}),
        charge,
        step("hint", "receipt", "unused"),
        step("mail", "receipt", "sent", may="unused"),
        goals="mail",
        customer_id="c1",
        item=["book", "free", "pen", "lamp"],
    )
    world.wait(5)
    world.lose("archive")
    world.succeed("crm", customer={"name": "Ada"})
    world.accept("charge", item=0, elapsed_ms=40)
    world.fall_short("charge", "card reader busy", item=2, after_ms=50)
    world.lose("charge", item=3)
    world.wait(50)
    world.fail("charge", "no such lamp", item=3)
    world.complete("charge", 3, paid="too late")
    world.succeed("charge", 2, paid="r2")
    world.complete("charge", 0, paid="r0")
    world.complete("charge", 0, paid="again")
    world.succeed("mail", sent=True)
    return world


def failure() -> World:
    """A failure that spreads, a raising predicate, and work that goes on after the outcome."""
    world = World(
        step("load", "id", "row"),
        step("slow", "id", "extra"),
        step("raises", "id", "hint", predicate=script("fail()")),
        step("join", "row extra", "joined", may="hint"),
        step("save", "joined", "saved"),
        goals="save",
        id=7,
    )
    world.fall_short("load", "busy")
    world.wait(1_000)
    world.fail("load", "no such row")
    world.wait(10)
    world.succeed("slow", extra=[1, 2, {"deep": None}])
    return world


def cancelled() -> World:
    """A flow that is cancelled, lingers, and is given up; the item that waited for its retry is dropped."""
    fans = step("fans", "", "y", attributes={"n": each()}, work_config={"parallelism": 2})
    world = World(fans, step("human", "n", "z"), goals="fans human", n=[1, 2, 3], linger_ms=500)
    world.accept("human")
    world.fall_short("fans", item=0)
    world.cancel()
    world.wait(500)
    world.succeed("fans", 1, y=1)
    world.succeed("fans", 2, y=2)
    return world


def timed_out() -> World:
    """A flow that is still active when its own time is over."""
    world = World(step("a", "x", "y"), goals="a", x=1.5, timeout_ms=300)
    world.wait(300)
    return world


def satisfied() -> World:
    """A flow whose goal was given from the start."""
    return World(step("a", "x", "y"), goals="a", init={"y": ["given", "twice"]})


def deadlines() -> World:
    """Optional inputs that come in time, late and never, and mapping scripts of inputs and outputs."""
    attributes = {
        "near": named(role="optional", deadline=50, default="[0]"),
        "far": named(role="optional", deadline=400, collect="some"),
        "row": {
            "role": "required",
            "required": {"mapping": {"name": "key", "script": script("value['id']")}},
        },
        "paid": named(role="output", mapping={"script": script("nothing")}),
        "z": named(role="output", mapping={"name": "out", "script": script("[out]")}),
    }
    world = World(
        step("load", "x", "row"),
        step("slow", "x", "near"),
        step("one", "x", "far"),
        step("two", "x", "far"),
        step("goal", attributes=attributes),
        goals="goal",
        x=1,
    )
    world.succeed("load", row={"id": 7})
    world.wait(50)
    world.succeed("slow", near="too late")
    world.succeed("one", far=1)
    world.succeed("two", far=2)
    world.succeed("goal", out="done", paid=True)
    return world


def undone() -> World:
    """A flow that undoes everything: a late success, an undo that is retried, lost, and one that fails."""
    fans = step(
        "fans",
        "",
        "y",
        attributes={"n": each()},
        python={"handler": "fans", "undo": "fans.undo"},
        work_config={"parallelism": 3, "init_backoff": 100, "max_attempts": 3},
    )
    first = step("first", "x", "n", python={"handler": "first", "undo": "first.undo"})
    world = World(first, fans, goals="fans", x=1, compensate="flow")
    world.succeed("first", n=["a", "b", "c"])
    world.succeed("fans", 0, y=1)
    world.accept("fans", item=2)
    world.fail("fans", item=1)
    world.report_undo("fans", Unfinished("bank is closed"))
    world.complete("fans", 1, y="too late")
    world.wait(100)
    world.lose_undo("fans")
    world.undo("fans")
    world.report_undo("fans", Broken("account is closed"), item=1)
    world.complete("fans", 2, y=3)
    world.undo("fans", 2)
    world.undo("first")
    return world


STORIES: Mapping[str, Callable[[], World]] = {
    story.__name__: story for story in (order, failure, cancelled, timed_out, satisfied, deadlines, undone)
}

# --------------------------------------------------------------------------- file


def lines_of(name: str, world: World) -> Iterator[dict[str, JSON]]:
    """What the file says of one flow."""
    yield {"flow": name, "plan": plan_to_json(world.plan)}
    for recorded in world.log:
        envelope = recorded._asdict()
        event = envelope.pop("event")
        yield {"flow": name, **envelope, "type": event.type, "data": event.data()}
    yield {"flow": name, "state": state_of(world.flow)}


def state_of(flow: Flow) -> dict[str, JSON]:
    """All that a flow holds, by name. What is empty is left out, so that a field may be added."""
    state = fields_of(flow, "plan", "waits", "steps")
    state["steps"] = {
        id: {**fields_of(run, "items"), "items": [fields_of(item) for _, item in sorted(run.items.items())]}
        for id, run in flow.steps.items()
    }
    return state


def fields_of(thing: Any, *left_out: str) -> dict[str, JSON]:
    names = [name for name in type(thing).__slots__ if name not in left_out]
    return {name: plain(value) for name in names if (value := getattr(thing, name))}


def plain(value: Any) -> JSON:
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, frozenset):
        return sorted(plain(each) for each in value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, str) else value


def regenerate() -> None:
    """Writes the golden file anew from the stories."""
    GOLDEN.parent.mkdir(exist_ok=True)
    lines = [line for name, story in STORIES.items() for line in lines_of(name, story())]
    GOLDEN.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def golden() -> dict[str, list[dict[str, Any]]]:
    """The lines of the file, by flow."""
    found: dict[str, list[dict[str, Any]]] = {}
    for text in GOLDEN.read_text().splitlines():
        line = json.loads(text)
        found.setdefault(line["flow"], []).append(line)
    return found


def fold(lines: list[dict[str, Any]]) -> Flow:
    """Folds the events of a flow as a reader of its log does."""
    [first, *stored, _] = lines
    plan = plan_from_json(first["plan"])
    recorded: list[Recorded] = []
    for line in stored:
        given_plan = plan if line["type"] == "flow_started" else None
        event = parse_event(line["type"], line["data"], plan=given_plan)
        where = (line[name] for name in ("version", "at", "cause", "by", "tx", "place", "count"))
        recorded.append(Recorded(*where, event))
    return evolve(Flow("f1"), recorded)


# -------------------------------------------------------------------------- tests


def test_every_golden_log_folds_to_the_state_it_had() -> None:
    for name, lines in golden().items():
        assert state_of(fold(lines)) == lines[-1]["state"], name


def test_the_golden_logs_have_every_event_there_is() -> None:
    seen = {line["type"] for lines in golden().values() for line in lines if "type" in line}
    assert seen == set(EVENTS)


def test_the_rules_still_decide_what_the_golden_logs_say() -> None:
    """A difference is a change of behaviour: write the file anew only when it is meant."""
    for name, story in STORIES.items():
        decided = json.loads(json.dumps(list(lines_of(name, story()))))
        assert decided == golden()[name], name


def test_every_golden_plan_is_written_as_it_was_read() -> None:
    for name, lines in golden().items():
        plan = lines[0]["plan"]
        assert plan_to_json(plan_from_json(plan)) == plan, name


if __name__ == "__main__":
    regenerate()
