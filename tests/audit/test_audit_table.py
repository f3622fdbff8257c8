"""Each invariant by something that breaks it, and nothing else.

A break is made by hand in a namespace of which an audit finds nothing: in a log, beside one, in a queue,
among the keys, or between the logs and a journal.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from audit_stage import AGAIN, DONE, OPEN, SQUARE, WEBHOOK, Stage

from argyll_redis.core import events as e
from argyll_redis.core.audit import INVARIANTS
from argyll_redis.core.events_undo import CompStarted
from argyll_redis.core.model import StepId

pytestmark = pytest.mark.anyio

ID = StepId
Break = Callable[[Stage, Path], Awaitable[None]]
BROKEN: dict[str, tuple[str, Break]] = {}
"""By what is broken: the invariant, and what breaks it."""


def breaks(invariant: str) -> Callable[[Break], Break]:
    """Marks what breaks an invariant; its docstring says what is broken."""

    def mark(made: Break) -> Break:
        BROKEN[(made.__doc__ or "").rstrip(".")] = (invariant, made)
        return made

    return mark


# --------------------------------------------------------------------------- logs


@breaks("I-01")
async def _(stage: Stage, _: Path) -> None:
    """A head of another transaction."""
    stage.log(DONE).tx = "other"


@breaks("I-01")
async def _(stage: Stage, _: Path) -> None:
    """A head of another status."""
    stage.log(DONE).fields["status"] = "failed"


@breaks("I-02")
async def _(stage: Stage, _: Path) -> None:
    """A transaction that is older than the one before."""
    log = stage.log(DONE)
    for stored in log.events[-5:]:
        stage.change(DONE, stored.version, at=log.events[0].at - 5)


@breaks("I-03")
async def _(stage: Stage, _: Path) -> None:
    """An event that nobody knows."""
    stage.change(OPEN, 3, type="work_dreamt_of")


@breaks("I-03")
async def _(stage: Stage, _: Path) -> None:
    """A field of the wrong kind."""
    stage.change(DONE, stage.version(DONE, "work_succeeded"), ran_ms="long")


@breaks("I-04")
async def _(stage: Stage, _: Path) -> None:
    """A transaction that was cut."""
    for version in (1, 2, 3):
        stage.change(OPEN, version, count=4)


@breaks("I-05")
async def _(stage: Stage, _: Path) -> None:
    """An outcome that is ignored twice."""
    ignored = e.WorkIgnored(ID("lookup"), await stage.token(OPEN, "lookup"), 1, "late")
    stage.forge(OPEN, (ignored, 3), (ignored, 3))


@breaks("I-06")
async def _(stage: Stage, _: Path) -> None:
    """An attempt that was never started."""
    token = await stage.token(OPEN, "lookup")
    stage.forge(OPEN, (e.WorkIgnored(ID("lookup"), token, 7, "late"), 0), by=WEBHOOK)


@breaks("I-07")
async def _(stage: Stage, _: Path) -> None:
    """A flow with the seed of another."""
    stage.copy(DONE, "twin")


@breaks("I-08")
async def _(stage: Stage, _: Path) -> None:
    """A root cause that is not in the plan."""
    await _fallen(stage)
    stage.change("fallen", _failed(stage), root_cause={"step": "refund", "error": "boom"})


@breaks("I-09")
async def _(stage: Stage, _: Path) -> None:
    """An input that is neither a reference nor a default."""
    stage.change(OPEN, 2, inputs={"customer_id": {"value": "c1"}})


@breaks("I-10")
async def _(stage: Stage, _: Path) -> None:
    """A step that stays active when its work is over."""
    token = await stage.token(OPEN, "lookup")
    stage.forge(OPEN, (e.WorkSucceeded(ID("lookup"), token, 1, {"customer": {}}, 1), 3))


@breaks("I-11")
async def _(stage: Stage, _: Path) -> None:
    """An output that nobody has declared."""
    version = stage.version(DONE, "work_succeeded")
    stage.change(DONE, version, outputs={"receipt": "r1", "more": 1})


@breaks("I-12")
async def _(stage: Stage, _: Path) -> None:
    """A flow that failed for another reason than its goal."""
    await _fallen(stage)
    version = stage.version("fallen", "flow_failed")
    stage.change("fallen", version, root_cause={"step": "charge", "error": "whim"})


@breaks("I-13")
async def _(stage: Stage, _: Path) -> None:
    """A step that waited at the end of its flow, and has an end after it."""
    await stage.app.cancel(OPEN)
    cause = {"step": "charge", "error": "boom"}
    stage.forge(OPEN, (e.StepFailed(ID("charge"), "boom", cause), 4))


@breaks("I-14")
async def _(stage: Stage, _: Path) -> None:
    """A flow that is deactivated, and its log is open."""
    stage.log(DONE).sealed = False


@breaks("I-15")
async def _(stage: Stage, _: Path) -> None:
    """Two work items at a time where one is allowed."""
    await stage.app.start(["charge_each"], {"orders": [1, 2]}, id="each")
    token = await stage.token("each", "charge_each", 1)
    stage.forge("each", (e.WorkStarted(ID("charge_each"), token, 1, "first"), 2))
    stage.add_entry("each", "work:default", f"each {token} 1 4")


@breaks("I-16")
async def _(stage: Stage, _: Path) -> None:
    """A retry that is due later than anybody may ask for."""
    token = await stage.token(OPEN, "lookup")
    await stage.app.retry_later(OPEN, "lookup", token, after_ms=60_000)
    stage.change(OPEN, stage.version(OPEN, "work_retry_scheduled"), delay_ms=10**9)


@breaks("I-17")
async def _(stage: Stage, _: Path) -> None:
    """Work that counts, and is undone."""
    token = await stage.token(OPEN, "lookup")
    await stage.complete(OPEN, "lookup", customer={})
    version = stage.version(OPEN, "work_succeeded")
    stage.forge(OPEN, (CompStarted(ID("lookup"), token, 1, "first"), version))
    stage.add_entry(OPEN, "work:default", f"{OPEN} {token}:undo 1 {stage.log(OPEN).version}")


@breaks("I-19")
async def _(stage: Stage, _: Path) -> None:
    """A plan that does not say why a step is in it."""
    stage.replan(DONE, why={})


@breaks("I-24")
async def _(stage: Stage, _: Path) -> None:
    """A child that does not say whose it is."""
    stage.change(stage.child(), 1, metadata={})


@breaks("causes")
async def _(stage: Stage, _: Path) -> None:
    """An event without a cause."""
    stage.change(DONE, stage.version(DONE, "step_started"), cause=0)


@breaks("I-29")
async def _(stage: Stage, _: Path) -> None:
    """Work that was spared, and got something else."""
    stage.change(AGAIN, stage.version(AGAIN, "work_succeeded"), outputs={"y": 10})


async def _fallen(stage: Stage) -> None:
    await stage.app.start(["charge"], {"order": 17, "customer_id": "c1"}, id="fallen")
    await stage.app.fail("fallen", "lookup", await stage.token("fallen", "lookup"), "boom")


def _failed(stage: Stage) -> int:
    """The version of the first failure of a step."""
    return min(each.version for each in stage.log("fallen").events if each.type == "step_failed")


# --------------------------------------------------------------------- beside logs


@breaks("I-18")
async def _(stage: Stage, _: Path) -> None:
    """A row of a label that is missing."""
    stage.home(DONE).indexes["label:tenant=acme"].discard(DONE)


@breaks("I-18")
async def _(stage: Stage, _: Path) -> None:
    """A row of a status that the flow does not have."""
    stage.home(DONE).indexes["open"].add(DONE, 1)


@breaks("I-18")
async def _(stage: Stage, _: Path) -> None:
    """A flow that is listed at another time than that of its start."""
    stage.home(DONE).indexes["done:completed"].add(DONE, 1)


@breaks("I-18")
async def _(stage: Stage, _: Path) -> None:
    """A head with an error that the flow does not have."""
    stage.log(DONE).fields["error"] = "boom"


@breaks("I-20")
async def _(stage: Stage, _: Path) -> None:
    """Entries that somebody took away."""
    stage.lose_entries()


@breaks("I-20")
async def _(stage: Stage, _: Path) -> None:
    """Due entries that somebody took away."""
    for member in list(stage.home(OPEN).due):
        stage.home(OPEN).due.discard(member)


@breaks("I-25")
async def _(stage: Stage, _: Path) -> None:
    """A stream of a queue that nobody serves."""
    stage.add_entry(OPEN, "work:gone", "nothing")


@breaks("I-25")
async def _(stage: Stage, _: Path) -> None:
    """A plan that counts more users than there are."""
    for plan in stage.home(DONE).plans.values():
        plan.users += 1


@breaks("I-25")
async def _(stage: Stage, _: Path) -> None:
    """A row of a flow that does not exist."""
    stage.home("ghost").indexes["done:completed"].add("ghost", 1)


# ------------------------------------------------------------------------ journals


@breaks("I-21")
async def _(stage: Stage, directory: Path) -> None:
    """A start that was answered as done, and no flow."""
    stage.journal("answers", directory, {"do": "start", "flow": "ghost", "answer": "ok"})


@breaks("I-21")
async def _(stage: Stage, directory: Path) -> None:
    """A start that was refused, and a flow."""
    stage.journal("answers", directory, {"do": "start", "flow": OPEN, "answer": "refused"})


@breaks("I-21")
async def _(stage: Stage, directory: Path) -> None:
    """A completion that was answered as done, and an item that goes on."""
    token = await stage.token(OPEN, "lookup")
    line = {"do": "complete", "flow": OPEN, "step": "lookup", "token": token, "answer": "ok"}
    stage.journal("answers", directory, line)


@breaks("I-21")
async def _(stage: Stage, directory: Path) -> None:
    """A cancel that was answered as done, and a flow that goes on."""
    stage.journal("answers", directory, {"do": "cancel", "flow": OPEN, "answer": "ok"})


def _call(flow: str, token: str, step: str = "square", **more: Any) -> dict[str, Any]:
    return {"flow": flow, "step": step, "token": token, "attempt": 1, **more}


@breaks("I-22")
async def _(stage: Stage, directory: Path) -> None:
    """A call that nobody has released."""
    stage.journal("calls", directory, _call(SQUARE, "00" * 16))


@breaks("I-22")
async def _(stage: Stage, directory: Path) -> None:
    """A call of a flow that does not exist."""
    stage.journal("calls", directory, _call("ghost", "00" * 16))


@breaks("I-22")
async def _(stage: Stage, directory: Path) -> None:
    """A call before its release."""
    line = _call(SQUARE, await stage.token(SQUARE, "square"), at=1_000)
    stage.journal("calls", directory, line)


@breaks("I-22")
async def _(stage: Stage, directory: Path) -> None:
    """A success that its call did not give."""
    await stage.app.start(["square"], {"x": 5}, id="five")
    await stage.report("five", "square", stage.success(y=25))
    stage.journal("calls", directory, _call("five", await stage.token("five", "square"), outputs={"y": 24}))


@breaks("I-22")
async def _(stage: Stage, directory: Path) -> None:
    """A success without a call."""
    await stage.app.start(["square"], {"x": 5}, id="five")
    await stage.report("five", "square", stage.success(y=25))
    stage.journal("calls", directory, _call(SQUARE, await stage.token(SQUARE, "square")))


@breaks("I-23")
async def _(stage: Stage, directory: Path) -> None:
    """An attempt that is called twice."""
    line = _call(SQUARE, await stage.token(SQUARE, "square"))
    stage.journal("calls", directory, line, line)


def _seen(do: str, *versions: int, flow: str = DONE) -> list[dict[str, Any]]:
    return [{"do": do, "client": "c1", "flow": flow, "version": version} for version in versions]


@breaks("I-26")
async def _(stage: Stage, directory: Path) -> None:
    """A follower that misses an event."""
    stage.journal("answers", directory, *_seen("feed", 1, 2, 4))


@breaks("I-26")
async def _(stage: Stage, directory: Path) -> None:
    """A follower that gets an event twice."""
    stage.journal("answers", directory, *_seen("feed", 3, 4, 4))


@breaks("I-26")
async def _(stage: Stage, directory: Path) -> None:
    """A follower that got an event of a flow that is not there."""
    stage.journal("answers", directory, *_seen("feed", 1, flow="ghost"))


@breaks("I-27")
async def _(stage: Stage, directory: Path) -> None:
    """A reader that falls back."""
    stage.journal("answers", directory, *_seen("read", 3, 3, 2))


@breaks("I-27")
async def _(stage: Stage, directory: Path) -> None:
    """A reader that saw a version beyond the log."""
    stage.journal("answers", directory, *_seen("read", 99))


@breaks("I-30")
async def _(stage: Stage, directory: Path) -> None:
    """An engine that knew another event at a version."""
    line = {"do": "knew", "engine": "e1", "flow": DONE, "version": 4, "tx": "other"}
    stage.journal("answers", directory, line)


@breaks("I-30")
async def _(stage: Stage, directory: Path) -> None:
    """An engine that knew a version beyond the log."""
    line = {"do": "knew", "engine": "e1", "flow": DONE, "version": 99, "tx": "other"}
    stage.journal("answers", directory, line)


# -------------------------------------------------------------------------- tests


@pytest.mark.parametrize("broken", BROKEN)
async def test_what_breaks_an_invariant_is_found_as_that(stage: Stage, tmp_path: Path, broken: str) -> None:
    """Exactly the invariant that was broken is named."""
    invariant, made = BROKEN[broken]
    await made(stage, tmp_path)
    report = await stage.audit()
    assert {each.invariant for each in report.violations} == {invariant}, report.violations


def test_every_invariant_has_something_that_breaks_it() -> None:
    """None is only said."""
    assert {invariant for invariant, _ in BROKEN.values()} == INVARIANTS.keys()
