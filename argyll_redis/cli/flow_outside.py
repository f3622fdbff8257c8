"""`argyll flow complete` and `fail`: what people decide, and outside systems report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.completing import complete_flows, complete_steps
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common, read_values
from argyll_redis.errors import InvalidInput, Problem, UnknownToken

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

MAX_NAMED = 20
"""Tokens that are listed when one has to be chosen."""

FLOW = click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
STEP = click.argument("step_id", metavar="STEP", shell_complete=complete_steps)
TOKEN = click.option(
    "--token", metavar="T", help="Of the work item; not needed where one item of the step waits."
)


@click.command()
@FLOW
@STEP
@TOKEN
@click.option(
    "--output", metavar="NAME=VALUE", multiple=True, help="An output: JSON if it parses, else text."
)
@common
def complete(asked: Asked, flow_id: str, step_id: str, token: str | None, output: tuple[str, ...]) -> None:
    """Complete a work item of STEP in FLOW whose outcome comes from outside.

    That is one whose function returned ACCEPTED. An item that is settled already stays as it is, which
    is no error.

    Example: `argyll flow complete order-17 approve --output approved=true`
    """
    outputs = read_values(output, "--output")

    async def report(app: Argyll, item: str) -> bool:
        return await app.complete(flow_id, step_id, item, outputs)

    _report(asked, flow_id, step_id, token, report, "completed")


@click.command()
@FLOW
@STEP
@TOKEN
@click.option("--error", metavar="TEXT", default="failed", show_default=True, help="What went wrong.")
@common
def fail(asked: Asked, flow_id: str, step_id: str, token: str | None, error: str) -> None:
    """Fail a work item of STEP in FLOW for good: it is not tried again.

    An item that is settled already stays as it is, which is no error.

    Example: `argyll flow fail order-17 approve --error "over budget"`
    """

    async def report(app: Argyll, item: str) -> bool:
        return await app.fail(flow_id, step_id, item, error)

    _report(asked, flow_id, step_id, token, report, "failed")


def _report(
    asked: Asked,
    flow_id: str,
    step_id: str,
    token: str | None,
    report: Callable[[Argyll, str], Awaitable[bool]],
    done: str,
) -> None:
    """Reports an outcome of the item that is meant, and prints what it came to."""

    async def reported(app: Argyll) -> bool:
        return await report(app, token if token is not None else await _only_one(app, flow_id, step_id))

    did = run(asked, reported)
    item = f"the work item of step {step_id} of flow {flow_id}"
    message = f"{item} is {done}" if did else f"{item} was settled already"
    if asked.as_json:
        print_json({"message": message, "flow_id": flow_id})
    else:
        print_text(message)


async def _only_one(app: Argyll, flow_id: str, step_id: str) -> str:
    """The token of the one item that waits. Raises `UnknownToken` when there is none, `InvalidInput`
    listing them when there are several."""
    waiting = await app.waiting(flow_id, step_id)
    if not waiting:
        what = "waits for an outcome from outside"
        raise UnknownToken(f"no work item of step {step_id} of flow {flow_id} {what}")
    if len(waiting) > 1:
        raise InvalidInput(
            f"{len(waiting)} work items of step {step_id} wait; say which one with --token",
            problems=[Problem("", f"item {each['item']}: {each['token']}") for each in waiting[:MAX_NAMED]],
        )
    return waiting[0]["token"]
