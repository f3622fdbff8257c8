"""Logs that earlier versions wrote still fold to the states they had (`tests/golden/flows.jsonl`).

The file has, for each flow, a line with its plan, a line an event as a store keeps it, and a line with
the state; `hashes.json` has the hash of each flow's lines. They are kept for ever: a difference is a
break of every log there is. A new story below is added behind them by

    PYTHONPATH=. python tests/core/test_golden_logs.py

Where rules or formats have changed on purpose, what a story decides differs from its golden log: the log
stays, the story gets another name, and its new log is added. `PAST` has the names of such logs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from given import World, each, gate, named, script, step

from argyll_redis.core import events
from argyll_redis.core.commands import Broken, Cancel, Succeeded, Unfinished
from argyll_redis.core.decide import evolve
from argyll_redis.core.events import EVENTS, Event, Recorded, parse_event
from argyll_redis.core.model import JSON, StepId, Token
from argyll_redis.core.plan import plan_from_json, plan_to_json
from argyll_redis.core.schemas import UPCASTS
from argyll_redis.core.state import Draft, Flow
from argyll_redis.core.sub_flows import Parent, metadata_for
from argyll_redis.errors import UnknownEvent

GOLDEN = Path(__file__).parent.parent / "golden" / "flows.jsonl"
HASHES = GOLDEN.parent / "hashes.json"
PAST: frozenset[str] = frozenset()
"""Golden logs whose stories are not told any more."""


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


def chain() -> World:
    """The plainest flow: one step after the other, each with what the one before gave."""
    world = World(step("a", "x", "y"), step("b", "y", "z"), step("c", "z", "end"), goals="c", x=[1, "two"])
    world.succeed("a", y={"deep": [1, None]})
    world.succeed("b", z="ü")
    world.succeed("c", end=2.5)
    return world


def alternatives() -> World:
    """All values of two providers, the last of two, and a provider for when there is no other."""
    asks = {
        "all": named(collect="all"),
        "last": named(collect="last"),
        "none": named(collect="none", role="required"),
        "out": named(role="output"),
    }
    world = World(
        step("one", "x", "all last"),
        step("two", "x", "all last"),
        step("spare", "x", "none"),
        step("goal", attributes=asks),
        goals="goal",
        x=1,
        all=[0],
    )
    world.succeed("two", all="b", last="b")
    world.fail("spare", "nothing there")
    world.succeed("one", all="a", last="a")
    world.succeed("goal", out="done")
    return world


def gates() -> World:
    """A gate that opens, one that closes, and what only that one's step had wanted."""
    world = World(
        step("check", "x", "score"),
        step("deep", "x", "facts"),
        step("high", "facts", "prize", attributes={"score": gate("value > 5")}),
        step("low", "hint", "consolation", attributes={"score": gate("value <= 5")}),
        step("hint", "x", "hint"),
        goals="high low",
        x=1,
    )
    world.succeed("check", score=7)
    world.succeed("deep", facts=[])
    world.succeed("high", prize="cup")
    return world


def reused() -> World:
    """A success that another flow had before, and a child that gave what its parent wanted."""
    outputs = {"x": named("n"), "y": named("doubled", role="output")}
    twice = {"id": "twice", "type": "flow", "flow": {"goals": ["double"]}, "attributes": outputs}
    world = World(
        step("double", "n", "doubled"),
        step("look", "k", "x", memoizable=True),
        twice,
        goals="twice",
        k="v",
    )
    world.report("look", Succeeded({"x": 21}, memo=True))
    world.accept("twice")
    world.complete("twice", by="child:e1", doubled=42)
    return world


def webhook() -> World:
    """Outcomes from outside: in time, too late, and never, so that the item's own time is over."""
    slow = step("slow", "x", "b", work_config={"timeout": 1_000, "max_retries": 1, "init_backoff": 100})
    world = World(step("quick", "x", "a"), slow, step("goal", "a b", "c"), goals="goal", x=1)
    world.accept("quick", elapsed_ms=5)
    world.accept("slow", elapsed_ms=5)
    world.complete("quick", by="webhook:w1", a="came")
    world.wait(1_000)
    world.wait(100)
    world.accept("slow")
    world.wait(1_000)
    world.complete("slow", by="webhook:w1", b="too late")
    return world


def child() -> World:
    """A flow that another one has started, and is told of its end; its parent cancels it meanwhile."""
    parent = Parent("p", StepId("twice"), Token("ab" * 16))
    world = World(
        step("double", "n", "doubled"),
        step("more", "doubled", "quadrupled"),
        goals="more",
        n=2,
        metadata=metadata_for(parent),
        labels={"tenant": "acme"},
    )
    world.succeed("double", doubled=4)
    world.say(Cancel("child:e1"))
    world.succeed("more", quadrupled=8)
    return world


STORIES: Mapping[str, Callable[[], World]] = {
    story.__name__: story
    for story in (
        *(order, failure, cancelled, timed_out, satisfied, deadlines, undone),
        *(chain, alternatives, gates, reused, webhook, child),
    )
}

# --------------------------------------------------------------------------- file


def lines_of(name: str, world: World) -> Iterator[dict[str, JSON]]:
    """What the file says of one flow."""
    yield {"flow": name, "plan": plan_to_json(world.plan)}
    for recorded in world.log:
        envelope = recorded._asdict()
        event = envelope.pop("event")
        yield {"flow": name, **envelope, "type": event.type, "data": event.stored()}
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


def text_of(lines: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def hash_of(lines: list[dict[str, Any]]) -> str:
    return sha256(text_of(lines).encode()).hexdigest()


def add_new() -> None:
    """Adds the logs of new stories; those that are there stay as they are."""
    hashes: dict[str, str] = json.loads(HASHES.read_text())
    with GOLDEN.open("a") as file:
        for name, story in STORIES.items():
            if name not in hashes:
                lines = list(lines_of(name, story()))
                file.write(text_of(lines))
                hashes[name] = hash_of(lines)
    HASHES.write_text(json.dumps(hashes, indent=1) + "\n")


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


def test_no_golden_log_was_changed_or_taken_away() -> None:
    """Nor was one added by hand: what is in the file is what was written by the rules of its time."""
    hashes: dict[str, str] = json.loads(HASHES.read_text())
    assert {name: hash_of(lines) for name, lines in golden().items()} == hashes
    assert set(hashes) == set(STORIES) | PAST


def test_the_golden_logs_have_every_event_there_is() -> None:
    seen = {line["type"] for lines in golden().values() for line in lines if "type" in line}
    assert seen == set(EVENTS)


def test_the_rules_still_decide_what_the_golden_logs_say() -> None:
    """A difference is a change of behaviour; where it is meant, see above."""
    for name, story in STORIES.items():
        decided = json.loads(json.dumps(list(lines_of(name, story()))))
        assert decided == golden()[name], name


def test_every_golden_plan_is_written_as_it_was_read() -> None:
    for name, lines in golden().items():
        plan = lines[0]["plan"]
        assert plan_to_json(plan_from_json(plan)) == plan, name


# ---------------------------------------------------------------- schema versions


class Noted(Event):
    """Somebody has noted something. (An event of this test: once it held one text, then a list.)"""

    texts: list[str]
    by: str

    def apply(self, draft: Draft, version: int) -> None:
        del version
        draft.error = ", ".join([*self.texts, self.by])


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The event is in its third version: the first had `text`, the second `texts`, the third has `by`."""
    monkeypatch.setattr(events, "EVENTS", dict(EVENTS))
    events.event("noted", schema=3)(type("Noted", (Event,), dict(Noted.__dict__)))
    monkeypatch.setitem(UPCASTS, ("noted", 1), lambda data: {"texts": [data["text"]]})
    monkeypatch.setitem(UPCASTS, ("noted", 2), lambda data: {**data, "by": "nobody"})


@pytest.mark.usefixtures("noted")
@pytest.mark.parametrize(
    "stored",
    [
        {"text": "a"},
        {"v": 1, "text": "a"},
        {"v": 2, "texts": ["a"]},
        {"v": 3, "texts": ["a"], "by": "nobody"},
    ],
)
def test_an_event_of_an_older_schema_is_brought_up_to_date(stored: dict[str, Any]) -> None:
    given = dict(stored)
    read = parse_event("noted", stored)
    assert read.stored() == {"texts": ["a"], "by": "nobody", "v": 3}
    assert stored == given  # whoever holds the data still has them


@pytest.mark.usefixtures("noted")
@pytest.mark.parametrize("version", [4, 0, -1, "2", 2.0, True, None])
def test_an_event_of_a_schema_that_is_not_known_is_left_to_newer_engines(version: Any) -> None:
    with pytest.raises(UnknownEvent, match="noted"):
        parse_event("noted", {"v": version, "texts": ["a"], "by": "b"})


@pytest.mark.parametrize("type", EVENTS)
def test_a_newer_schema_of_every_event_is_refused(type: str) -> None:
    """Also where its fields look like those that are known."""
    with pytest.raises(UnknownEvent, match=f'"{type}" of schema {EVENTS[type].schema + 1}'):
        parse_event(type, {"v": EVENTS[type].schema + 1})


@pytest.mark.parametrize("type", EVENTS)
def test_every_older_schema_has_its_way_to_the_next(type: str) -> None:
    """And its version has a key of its own, which no field has."""
    upcasts = {version for kind, version in UPCASTS if kind == type}
    assert (upcasts, "v" in EVENTS[type].fields) == (set(range(1, EVENTS[type].schema)), False)


def test_the_first_schema_costs_nothing_in_a_log() -> None:
    stored = events.StepCompleted(StepId("a")).stored()
    assert stored == {"step": "a"}


if __name__ == "__main__":
    sys.exit(add_new())
