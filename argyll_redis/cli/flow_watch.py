"""`argyll flow watch`: a flow as it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import click

from argyll_redis.cli.completing import complete_flows
from argyll_redis.cli.flow_screens import Screen, Shape, hindrance, screen_for
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.refusals import BadNews
from argyll_redis.cli.screen import Changes, Row
from argyll_redis.cli.texts import duration, printable
from argyll_redis.errors import StoreUnavailable
from argyll_redis.tally import StepTally, Tally

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

TICK_S = 0.5
"""How often what changes by itself is drawn: times."""
ENGINES_S = 3.0
"""How often engines are looked for."""


@click.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@common
def watch(asked: Asked, flow_id: str) -> None:
    """Watch FLOW go on, until it is deactivated.

    On a terminal the plan is drawn as a tree: under each step what it needs, and beside it how many of
    its items are over, what it waits for, when its next retry is due. Elsewhere each thing that happens
    is a line; with --json every line is an object. Ctrl-C ends the watching, not the flow. Exits with 1
    when the flow failed.

    Example: `argyll flow watch order-17`
    """
    screen = screen_for(as_json=asked.as_json)
    if screen is None:
        last = run(asked, lambda app: _tell(app, flow_id))
    else:
        last = run(asked, lambda app: _show(app, flow_id, screen), say=screen.say)
    if last["status"] == "failed":
        raise BadNews(f"flow {flow_id} failed: {last.get('error') or 'without an error'}")


async def _tell(app: Argyll, flow_id: str) -> Shape:
    """Says in a line each what happened and happens, each with its own time; gives how it ended."""
    handle = app.flow(flow_id)
    async with aclosing(handle.watch()) as shapes:
        began = await anext(shapes)
    if hindering := hindrance(began, has_engine=await _has_engine(app)):
        click.echo(hindering, err=True)
    tally = Tally.of([step["id"] for step in began["steps"]])
    changes = Changes(lambda line: click.echo(printable(line)), with_starts=True)
    async for event in handle.events():
        tally.add(event)
        if event["type"] in ("flow_completed", "flow_failed"):
            click.echo(f"{duration(tally.elapsed_ms):>8}  flow {printable(flow_id)} {tally.status}")
        elif step := tally.steps.get(event["data"].get("step", "")):
            changes.show([_row(step)], tally.elapsed_ms)
    return {"status": tally.status, "error": tally.error}


def _row(step: StepTally) -> Row:
    return Row(
        step.id,
        step.status,
        step.items,
        step.done,
        step.retried,
        step.taken_over,
        step.outside,
        error=step.error,
    )


async def _show(app: Argyll, flow_id: str, screen: Screen) -> Shape:
    """Shows how far the flow is, again and again; gives what was shown last."""
    clock = (await app.node()).clock
    has_engine = True
    looked_s = -ENGINES_S
    progress: Shape = {}
    async with _newest(app.flow(flow_id).watch()) as newest:
        async for progress in newest:
            loop_s = asyncio.get_running_loop().time()
            if progress["status"] == "active" and loop_s - looked_s >= ENGINES_S:
                looked_s, has_engine = loop_s, await _has_engine(app)
            screen.show(progress, now_ms=clock.now_ms(), has_engine=has_engine)
    return progress


async def _has_engine(app: Argyll) -> bool:
    try:
        return bool(await app.engines())
    except StoreUnavailable:
        return True  # nobody knows


@asynccontextmanager
async def _newest(shapes: AsyncIterator[Shape]) -> AsyncIterator[AsyncIterator[Shape]]:
    """What comes, and what came last again at every tick; what was overtaken is left out."""
    changed = asyncio.Event()
    last: list[Shape] = []

    async def read() -> None:
        try:
            async for shape in shapes:
                last[:] = [shape]
                changed.set()
        finally:
            changed.set()

    reader = asyncio.get_running_loop().create_task(read())

    async def ticks() -> AsyncIterator[Shape]:
        while not reader.done():
            try:
                await asyncio.wait_for(changed.wait(), TICK_S)
            except TimeoutError:
                pass
            else:
                changed.clear()
            if last:
                yield last[0]
        await reader
        if last:
            yield last[0]

    try:
        yield ticks()
    finally:
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)
