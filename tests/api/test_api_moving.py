"""Flows out of a namespace and into another: what comes out is whole, and only what is whole comes in."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from api_apps import Apps, event, token_of
from servers import StoreFactory

from argyll_redis import (
    ACCEPTED,
    Argyll,
    Failed,
    FlowConflict,
    FlowHandle,
    FlowImported,
    InvalidInput,
    Retry,
    UnknownFlow,
    UnknownGoal,
    Values,
    archive,
)
from argyll_redis.core import limits
from argyll_redis.core.model import JSON
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer

pytestmark = pytest.mark.anyio
Document = list[dict[str, JSON]]
Change = Callable[[Document], object]

REQUEST: dict[str, Any] = {
    "goals": ["send"],
    "init": {"order": Values(7, 8)},
    "labels": {"t": "a=b"},
    "metadata": {"by": [1]},
}


def shop(app: Argyll) -> Argyll:
    """Steps to which most things happen: retries, items, a person, one that nobody needs, a failure."""
    calls: dict[int, int] = {}

    @app.step(outputs="items")
    def load(order: int) -> list[int]:
        return [1, 2, 3]

    @app.step(outputs="price", for_each="items", parallelism=2, retry=Retry(max_attempts=3, initial_ms=1))
    def price(items: int, rate: float = 1.5) -> float:
        calls[items] = calls.get(items, 0) + 1
        if items == 2 and calls[items] == 1:
            raise ValueError("busy")
        return items * rate

    @app.step(outputs="approved")
    def approve(price: list[float]) -> Any:
        return ACCEPTED

    @app.step(outputs="sent", predicate="return approved")
    def send(approved: bool, price: list[float]) -> str | None:
        return None

    @app.step(outputs="broken", retry=Retry(max_attempts=1))
    def broken(order: int) -> str:
        raise Failed("boom \u20ac")

    return app


@pytest.fixture
async def there() -> AsyncIterator[Argyll]:
    """Another namespace, in memory."""
    server = MemoryServer()
    app = Argyll(namespace="there", make_store=lambda: MemoryStore(server=server))
    yield app
    await app.close()


@pytest.fixture
async def here(apps: Apps) -> Argyll:
    app = shop(apps())
    await apps.run(app)
    return app


async def sent(app: Argyll, id: str = "f") -> FlowHandle:
    """A flow that is over, after all that can happen to it."""
    flow = await app.start(
        ["send"], {"order": Values(7, 8)}, id=id, labels={"t": "a=b"}, metadata={"by": [1]}
    )
    await app.complete(id, "approve", await token_of(flow, "approve"), {"approved": True})
    await event(flow, "flow_deactivated")
    return flow


async def document(app: Argyll, id: str = "f") -> Document:
    return [line async for line in app.export_flow(id)]


def lines(found: Document) -> list[bytes]:
    return [json.dumps(line).encode() + b"\n" for line in found]


async def views(app: Argyll, id: str = "f") -> dict[str, Any]:
    """All that can be read of a flow."""
    state = await app.state(id)
    return {
        "state": state,
        "versions": [await app.state(id, at=version) for version in (1, 3, 9)],
        "events": [each async for each in app.flow(id).events(follow=False)],
        "why": [await app.why(id, step) for step in state["executions"]],
        "audit": await app.audit(id),
        "status": await app.status(id),
        "listed": await app.flows(),
        "progress": [{**each, "imported": None} async for each in app.flow(id).watch()],
        "again": await document(app, id),
    }


# ----------------------------------------------------------------- there and back


async def test_an_imported_flow_is_shown_explained_and_audited_as_the_flow_it_was(
    here: Argyll, there: Argyll
) -> None:
    await sent(here)
    assert await there.import_flow(lines(await document(here))) == {
        "message": "flow f is imported",
        "flow_id": "f",
    }
    ours, theirs = await views(here), await views(there)
    for each in ours["progress"]:
        each["imported"] = None
    assert theirs == ours
    assert theirs["audit"] == {"flows": 1, "violations": []}


async def test_a_flow_that_failed_is_imported_with_its_error(here: Argyll, there: Argyll) -> None:
    flow = await here.start(["broken", "send"], {"order": 7}, id="f")
    await event(flow, "flow_deactivated")
    await there.import_flow(await document(here))
    [listed] = await there.flows()
    outcome = await there.flow("f").outcome()
    assert (listed["status"], outcome["status"]) == ("failed", "failed")
    assert listed["error"] == outcome["error"] == (await here.flow("f").outcome())["error"]
    assert await there.why("f", "broken") == await here.why("f", "broken")


async def test_a_log_goes_around_on_every_store(here: Argyll, store_factory: StoreFactory) -> None:
    """Out, in under another id, and out again."""
    await sent(here)
    found = await document(here)
    found[0]["flow_id"] = "g"
    await here.import_flow(lines(found))
    assert await document(here, "g") == found
    assert (await here.flow("g").result(), (await here.status("g"))["status"]) == (
        {"sent": None},
        "completed",
    )


async def test_an_export_holds_no_seed_and_says_how_long_it_is(here: Argyll) -> None:
    await sent(here)
    head, *events = await document(here)
    assert head == {"argyll_export": 1, "flow_id": "f", "events": len(events)}
    assert [list(each) for each in events] == [["id", "type", "at", "cause", "by", "tx", "data"]] * len(
        events
    )
    assert "seed" not in json.dumps(events)


async def test_a_document_may_have_blank_lines_and_be_text(here: Argyll, there: Argyll) -> None:
    await sent(here)
    text = [f"{json.dumps(line)}\n\n" for line in await document(here)]
    await there.import_flow(line for block in text for line in block.splitlines(keepends=True))
    assert (await there.status("f"))["status"] == "completed"


async def test_an_unknown_flow_cannot_be_exported_or_restarted(here: Argyll) -> None:
    with pytest.raises(UnknownFlow):
        await document(here, "gone")
    with pytest.raises(UnknownFlow):
        await here.restart("gone")


# ------------------------------------------------------------------ never run


@pytest.fixture
async def asleep(here: Argyll, there: Argyll) -> FlowHandle:
    """A flow that was exported while it waited for a person."""
    flow = await here.start(["send"], {"order": 7}, id="f")
    await token_of(flow, "approve")
    await there.import_flow(await document(here))
    return there.flow("f")


async def test_a_flow_that_was_active_is_listed_and_read_and_comes_to_no_outcome(
    asleep: FlowHandle, there: Argyll
) -> None:
    assert [(each["id"], each["status"]) for each in await there.flows()] == [("f", "active")]
    assert (await there.audit())["violations"] == []
    with pytest.raises(FlowImported, match="no outcome"):
        await asleep.result()
    types = [each["type"] async for each in asleep.events()]
    watched = [each async for each in asleep.watch()]
    assert (types[-1], len(watched), watched[0]["imported"]) == ("work_accepted", 1, True)


async def test_why_says_that_nothing_of_it_goes_on(asleep: FlowHandle, there: Argyll) -> None:
    told = [(await there.why("f", step))["why"][-1]["text"] for step in ("approve", "send", "load")]
    imported = ["imported" in text for text in told]
    assert imported == [True, True, False]


async def test_nothing_can_be_done_to_a_flow_that_was_imported_while_active(
    asleep: FlowHandle, there: Argyll
) -> None:
    [waiting] = await there.waiting("f", "approve")
    before = await document(there)
    for refused in (
        there.cancel("f"),
        there.complete("f", "approve", waiting["token"], {"approved": True}),
        there.fail("f", "approve", waiting["token"], "no"),
        there.retry_later("f", "approve", waiting["token"]),
    ):
        with pytest.raises(FlowImported, match="read, never run"):
            await refused
    assert await document(there) == before


async def test_an_imported_flow_that_is_over_answers_as_every_flow_that_is_over(
    here: Argyll, there: Argyll
) -> None:
    await sent(here)
    await there.import_flow(await document(here))
    [token] = (await there.state("f"))["executions"]["approve"]["work_items"]
    assert (await there.cancel("f"), await there.complete("f", "approve", token)) == (False, False)


async def test_an_engine_leaves_imported_flows_alone(apps: Apps, memory: Apps) -> None:
    """Its own flows go on, and nobody calls what was left in the imported one."""
    app = shop(memory())
    flow = await app.start(["send"], {"order": 7}, id="f")
    found = await document(app)
    other = shop(apps(lease_ms=100))
    await other.import_flow(found)
    await apps.run(other)
    await sent(other, "own")
    assert await document(other) == found
    assert (await flow.state())["executions"]["load"]["status"] == "active"


# ---------------------------------------------------------------------- refused


async def test_a_flow_that_exists_is_never_changed_by_an_import(here: Argyll, there: Argyll) -> None:
    await sent(here)
    found = await document(here)
    with pytest.raises(FlowConflict, match='flow "f" exists already'):
        await here.import_flow(found)
    await there.import_flow(found)
    with pytest.raises(FlowConflict):
        await there.import_flow(found)
    with pytest.raises(FlowConflict):
        await shop(there).start(
            ["send"], {"order": Values(7, 8)}, id="f", labels={"t": "a=b"}, metadata={"by": [1]}
        )
    assert await document(here) == await document(there) == found


def of_type(found: Document, kind: str) -> dict[str, Any]:
    return next(line for line in found[1:] if line["type"] == kind)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines.clear(), "the document: is empty"),
        (lambda lines: lines.pop(0), "line 1: is not the header"),
        (lambda lines: lines.pop(), "the document: ends after"),
        (lambda lines: lines.append(lines[-1]), "comes after the"),
        (lambda lines: lines.pop(3), "line 4: id: is not 3-0"),
        (lambda lines: lines[0].update(argyll_export=2), "the format is 2, and this version knows 1"),
        (lambda lines: lines[0].update(argyll_export="1"), "line 1: argyll_export"),
        (lambda lines: lines[0].update(flow_id="Not An Id"), "line 1: flow_id"),
        (lambda lines: lines[0].update(flow_id=":x"), "line 1: flow_id"),
        (lambda lines: lines[0].update(flow_id="x" * 300), "line 1: flow_id"),
        (lambda lines: lines[0].update(events=0), "line 1: events"),
        (lambda lines: lines[0].update(events=10**9), "50,000 can be imported"),
        (lambda lines: lines[0].update(more=1), "line 1: is not the header"),
        (lambda lines: lines[1].update(more=1), "line 2: is not an event"),
        (lambda lines: lines[2].update(type="step_begun"), 'line 3: type: "step_begun" is no event'),
        (lambda lines: lines[2].update(at=-1), "line 3: at"),
        (lambda lines: lines[2].update(at=10**17), "line 3: at"),
        (lambda lines: lines[2].update(cause=2), "line 3: cause"),
        (lambda lines: lines[2].update(cause=True), "line 3: cause"),
        (lambda lines: lines[2].update(by="a\nb"), "line 3: by"),
        (lambda lines: lines[2].update(tx="t:1"), "line 3: tx"),
        (lambda lines: lines[2].update(tx="t t:1/1"), "line 3: tx"),
        (lambda lines: lines[2].update(data=[]), "line 3: data"),
        (lambda lines: lines[2]["data"].update(more=1), "line 3: the log holds a"),
        (lambda lines: lines[2]["data"].update(items="1"), "`items` of the wrong kind"),
        (lambda lines: lines[2]["data"].pop("tokens"), "lists 0 tokens for 1 work items (invariant I-07"),
        (lambda lines: lines[2]["data"].update(inputs={"order": 9}), "I-09"),
        (lambda lines: lines[1]["data"].update(seed="5e" * 16), "line 2: data: is not a start in full"),
        (lambda lines: lines[1]["data"].pop("plan"), "line 2: data: is not a start in full"),
        (lambda lines: lines[1]["data"].update(plan="5e" * 16), "line 2: data.plan: is not an object"),
        (lambda lines: lines[1]["data"]["plan"]["steps"]["load"].update(type="x"), "plan.steps.load.type"),
        (lambda lines: lines[1]["data"]["plan"].update(goals=["gone"]), "I-19"),
        (lambda lines: lines[1]["data"].update(labels={"a=b": "c"}), "line 2: labels.a=b"),
        (lambda lines: lines[1]["data"].update(labels={"a": 1}), "line 2: labels.a"),
        (lambda lines: lines[1]["data"].update(init={"order": 7}), "line 2: init.order"),
        (lambda lines: lines[1]["data"].update(options={}), "line 2: data.options"),
        (lambda lines: lines[1]["data"].update(options={"linger_ms": "1"}), "line 2: data.options"),
        (lambda lines: of_type(lines, "work_succeeded")["data"].update(token="00" * 16), "invariant causes"),
        (lambda lines: of_type(lines, "attribute_set")["data"].update(value=[9]), "I-11"),
        (lambda lines: of_type(lines, "flow_completed")["data"].update(result={}), "I-12"),
        (lambda lines: lines[5].update(at=lines[-1]["at"] + 1), "I-0"),
    ],
)  # fmt: skip
async def test_what_is_not_whole_is_refused_with_what_is_wrong_first_and_nothing_is_written(
    change: Change, said: str, exported: Document, there: Argyll
) -> None:
    found = copy.deepcopy(exported)
    change(found)
    for given in (found, lines(found)):
        with pytest.raises(InvalidInput) as refusal:
            await there.import_flow(given)
        assert said in str(refusal.value)
    assert await there.flows() == []


@pytest.fixture
async def exported(memory: Apps) -> Document:
    app = shop(memory())
    await memory.run(app)
    await sent(app)
    return await document(app)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "line 2: line 1, column 2: not JSON"),
        (b"\xff\xfe", "line 2: byte 0: not valid UTF-8"),
        (b'{"id": 1, "id": 2}', "line 2: the key `id` occurs twice"),
        (b'{"a": NaN}', "line 2: a: nan is not a JSON number"),
        (b"[" * 100_000, "line 2: nested more than"),
        (b"7", "line 2: is not an event"),
    ],
)
async def test_a_line_that_is_no_json_is_refused_by_its_number(
    line: bytes, said: str, exported: Document, there: Argyll
) -> None:
    with pytest.raises(InvalidInput) as refusal:
        await there.import_flow([lines(exported)[0], line])
    assert said in str(refusal.value)


async def test_a_document_that_is_too_large_is_refused_before_it_is_read_on(
    exported: Document, there: Argyll, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "MAX_IMPORT_BYTES", 4_000)
    read: list[int] = []

    def told() -> Any:
        for number, line in enumerate(lines(exported)):
            read.append(number)
            yield line

    for given in (told(), exported):
        with pytest.raises(InvalidInput, match="the document has more than"):
            await there.import_flow(given)
    assert len(read) < len(exported)


async def test_values_as_deep_as_values_may_be_are_exported_and_imported(memory: Apps, there: Argyll) -> None:
    app = memory()
    deepest: Any = 1
    for _ in range(limits.MAX_NESTING - 1):
        deepest = [deepest]

    @app.step(outputs="y", for_each="xs")
    def wrap(xs: Any) -> Any:
        return xs

    @app.step(outputs="z", for_each="y")
    def again(y: Any) -> Any:
        return 1

    await memory.run(app)
    flow = await app.start(["again"], {"xs": deepest}, id="f")
    await event(flow, "flow_deactivated")
    await there.import_flow(lines(await document(app)))
    assert await there.state("f") == await app.state("f")


# ---------------------------------------------------------------------- restart


async def test_a_restart_starts_the_same_as_a_new_flow(here: Argyll) -> None:
    first = await sent(here)
    again = await here.restart("f")
    ours, theirs = await first.state(), await again.state()
    assert again.id != "f"
    for name in ("labels", "metadata"):
        assert theirs[name] == ours[name]
    assert [each["value"] for each in theirs["attributes"]["order"]] == [7, 8]
    assert theirs["plan"]["goals"] == ["send"]
    assert (await first.state()) == ours


async def test_a_restart_under_an_id_can_be_asked_for_twice(here: Argyll) -> None:
    await sent(here)
    """It is a start like any other: the same again, be it under the flow's own id, starts nothing."""
    restarted = [await here.restart("f", id=id) for id in ("g", "g", "f")]
    assert ([each.id for each in restarted], len(await here.flows())) == (["g", "g", "f"], 2)
    await here.start(["load"], {"order": 1}, id="other")
    with pytest.raises(FlowConflict):
        await here.restart("f", id="other")


async def test_an_imported_flow_can_be_restarted_where_its_steps_are(here: Argyll, there: Argyll) -> None:
    await sent(here)
    await there.import_flow(await document(here))
    with pytest.raises(UnknownGoal):
        await there.restart("f")
    await shop(there).register_declared()
    again = await there.restart("f", id="g")
    assert (await again.state())["status"] == "active"
