"""`argyll flow watch`: a flow as it goes on.

asyncio is imported where something runs, as `cli/opened.py` says.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

import click

from argyll_redis.cli.completing import complete_flows
from argyll_redis.cli.flow_screens import OVER, UNKNOWN, Alive, Screen, Shape, hindrance, nowhere, screen_for
from argyll_redis.cli.opened import run, while_read
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.refusals import BadNews
from argyll_redis.cli.screen import Changes, Row
from argyll_redis.cli.texts import duration, is_terminal
from argyll_redis.core.text import printable
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
        last = run(asked, lambda app: while_read(_tell(app, flow_id)))
    else:
        last = run(asked, lambda app: while_read(_show(app, flow_id, screen)), say=screen.say)
    if last["status"] == "failed":
        raise BadNews(f"flow {flow_id} failed: {last.get('error') or 'without an error'}")


async def _tell(app: Argyll, flow_id: str) -> Shape:
    """Says in a line each what happened and happens, each with its own time; gives how it ended."""
    handle = app.flow(flow_id)
    async with aclosing(handle.watch()) as shapes:
        began = await anext(shapes)
    for line in _hindering(began, await _alive(app)):
        click.echo(line, err=True)
    tally = Tally.of([step["id"] for step in began["steps"]])
    changes = Changes(lambda line: click.echo(printable(line)), with_starts=True)
    async for event in handle.events():
        tally.add(event)
        if event["type"] in ("flow_completed", "flow_failed"):
            click.echo(f"{duration(tally.elapsed_ms):>8}  flow {printable(flow_id)} {tally.status}")
            if any(step.status == "active" for step in tally.steps.values()):
                click.echo(OVER, err=True)
        elif step := tally.steps.get(event["data"].get("step", "")):
            changes.show([_row(step)], tally.elapsed_ms)
    return {"status": tally.status, "error": tally.error}


def _hindering(progress: Shape, alive: Alive) -> Iterator[str]:
    """Why a flow, or one of its steps, does not go on."""
    if hindering := hindrance(progress, alive):
        yield hindering
    for step, why in nowhere(progress, alive).items():
        yield printable(f"{step}: {why}")


async def say_what_hinders(app: Argyll, flow_id: str) -> None:
    """Says in one line on standard error, where that is a terminal, why a flow that was just started does
    not go on: whoever waits for it would wait for nothing."""
    if not is_terminal(sys.stderr):
        return
    async with aclosing(app.flow(flow_id).watch()) as shapes:
        began = await anext(shapes)
    if began["status"] == "active" and (line := next(_hindering(began, await _alive(app)), "")):
        click.echo(line, err=True)


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
    import asyncio

    clock = (await app.node()).clock
    alive = UNKNOWN
    looked_s = -ENGINES_S
    progress: Shape = {}
    async with _newest(app.flow(flow_id).watch()) as newest:
        async for progress in newest:
            loop_s = asyncio.get_running_loop().time()
            if progress["status"] == "active" and loop_s - looked_s >= ENGINES_S:
                looked_s, alive = loop_s, await _alive(app)
            screen.show(progress, now_ms=clock.now_ms(), alive=alive)
    return progress


async def _alive(app: Argyll) -> Alive:
    try:
        engines = await app.engines()
    except StoreUnavailable:
        return UNKNOWN
    return Alive(
        {queue for engine in engines for queue in engine.queues},
        {handler for engine in engines for handler in engine.handlers},
    )


@asynccontextmanager
async def _newest(shapes: AsyncIterator[Shape]) -> AsyncIterator[AsyncIterator[Shape]]:
    """What comes, and what came last again at every tick; what was overtaken is left out."""
    import asyncio

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
