"""`argyll flow`: flows, from their start to what became of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from argyll_redis.cli import flow_texts
from argyll_redis.cli.answers import print_json, print_json_line, print_text
from argyll_redis.cli.completing import complete_flows, complete_steps
from argyll_redis.cli.flow_list import list_flows
from argyll_redis.cli.flow_moves import export, import_flow, restart
from argyll_redis.cli.flow_outside import complete, fail
from argyll_redis.cli.flow_watch import say_what_hinders, watch
from argyll_redis.cli.opened import run, while_read
from argyll_redis.cli.options import Asked, common, init_options, read_init, read_texts, read_values
from argyll_redis.cli.refusals import BadNews, GaveUpWaiting
from argyll_redis.cli.texts import duration

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.handle import FlowHandle

PAST_TIMEOUT_MS = 5_000
"""How long a flow whose own timeout has passed is still waited for: an engine ends it within about a
second, and where there is none, nobody does."""
ACTIVE = "active"
"""The status of a flow whose outcome is not decided."""
WAITABLE_MS = 10 * 365 * 86_400_000
"""The longest time to wait that can be asked for: ten years."""


@click.group(short_help="Start, follow, explain and end flows.")
def flow() -> None:
    """Start, follow, explain and end flows.

    FLOW is a flow's id, as `argyll flow start` printed it.
    """


for command in (list_flows, watch, restart, complete, fail, export, import_flow):
    flow.add_command(command)


# ----------------------------------------------------------------------- start


@flow.command()
@click.argument("goals", metavar="GOAL...", nargs=-1, required=True, shell_complete=complete_steps)
@click.option("--id", metavar="ID", help="The flow's id; starting it again with the same is a success.")
@init_options
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="A label, to find the flow by.")
@click.option(
    "--metadata", metavar="KEY=VALUE", multiple=True, help="Something to keep with the flow: JSON, else text."
)
@click.option(
    "--compensate",
    type=click.Choice(["flow"]),
    help="Undo what its steps have done, when the flow fails or is cancelled.",
)
@click.option(
    "--timeout-ms",
    metavar="MS",
    type=int,
    help="The flow fails when it is still active after so long.",
)
@click.option("--wait", is_flag=True, help="Wait for the outcome and print it.")
@common
def start(
    asked: Asked,
    goals: tuple[str, ...],
    id: str | None,
    init: tuple[str, ...],
    init_file: str | None,
    label: tuple[str, ...],
    metadata: tuple[str, ...],
    compensate: str | None,
    timeout_ms: int | None,
    wait: bool,
) -> None:
    """Start a flow that reaches the goals, and print its id.

    GOAL is the id of a step that must be done. With --wait the exit status is 1 when the flow failed,
    and 5 when its timeout passed and no engine ended it.

    Example: `argyll flow start ship --init order_id=17 --id order-17 --wait`
    """
    request: dict[str, Any] = {
        "init": read_init(init, init_file),
        "id": id,
        "labels": read_texts(label, "--label"),
        "metadata": read_values(metadata, "--metadata"),
        "compensate": compensate,
        "timeout_ms": timeout_ms,
    }

    async def started(app: Argyll) -> None:
        handle = await app.start(goals, **request)
        if wait:
            await say_what_hinders(app, handle.id)
            await _await_outcome(asked, app, handle, timeout_ms and timeout_ms + PAST_TIMEOUT_MS)
        elif asked.as_json:
            print_json({"message": f"flow {handle.id} is started", "flow_id": handle.id})
        else:
            print_text(handle.id)

    run(asked, started)


@flow.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@click.option(
    "--timeout-ms", metavar="MS", type=click.IntRange(0, WAITABLE_MS), help="Give up after so long, with 5."
)
@common
def wait(asked: Asked, flow_id: str, timeout_ms: int | None) -> None:
    """Wait for the outcome of FLOW and print it.

    Exits with 1 when the flow failed, with 5 when it gave up waiting.

    Example: `argyll flow wait order-17 --timeout-ms 30000`
    """
    run(asked, lambda app: _await_outcome(asked, app, app.flow(flow_id), timeout_ms))


async def _await_outcome(asked: Asked, app: Argyll, handle: FlowHandle, timeout_ms: int | None) -> None:
    """Prints the outcome of a flow. Raises `BadNews` for a failed one, `GaveUpWaiting`."""
    outcome = await _outcome(app, handle, timeout_ms)
    if asked.as_json:
        print_json(outcome)
    if outcome["status"] == ACTIVE:
        raise GaveUpWaiting(await _given_up(app, handle, timeout_ms or 0))
    if outcome["error"] is not None:
        raise BadNews(f"flow {handle.id} failed: {outcome['error']}")
    if not asked.as_json:
        print_text(*flow_texts.outcome(outcome))


async def _outcome(app: Argyll, handle: FlowHandle, timeout_ms: int | None) -> dict[str, Any]:
    """The outcome, or how the flow stands when the time is over: it is looked at once in any case."""
    try:
        return await handle.outcome(timeout_ms)
    except TimeoutError:
        status = (await app.status(handle.id))["status"]
    if status != ACTIVE:
        return await handle.outcome()
    return {"id": handle.id, "status": status, "result": None, "error": None}


async def _given_up(app: Argyll, handle: FlowHandle, timeout_ms: int) -> str:
    """What is said of a flow that was waited for in vain."""
    what = f"gave up waiting after {duration(timeout_ms)}: flow {handle.id} is active"
    waits = await app.waits_for(handle.id)
    return f"{what}; {waits}" if waits else what


@flow.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@common
def cancel(asked: Asked, flow_id: str) -> None:
    """End FLOW as failed, with the error "cancelled".

    A flow that is over is left as it is; that is no error.

    Example: `argyll flow cancel order-17`
    """
    did = run(asked, lambda app: app.cancel(flow_id))
    message = f"flow {flow_id} is cancelled" if did else f"flow {flow_id} was over already"
    if asked.as_json:
        print_json({"message": message, "flow_id": flow_id})
    else:
        print_text(message)


# ------------------------------------------------------------------------ read


@flow.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@click.option("--at", metavar="N", type=int, help="As the flow was at version N.")
@common
def show(asked: Asked, flow_id: str, at: int | None) -> None:
    """Show the state of FLOW: its steps and its attributes.

    Example: `argyll flow show order-17 --at 12`
    """
    state = run(asked, lambda app: app.state(flow_id, at=at))
    if asked.as_json:
        print_json(state)
    else:
        print_text(*flow_texts.state(state))


@flow.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@click.option(
    "--after", metavar="N", type=click.IntRange(min=0), default=0, help="Only what came after version N."
)
@click.option("--follow", is_flag=True, help="Go on as events come, until the flow is deactivated.")
@common
def events(asked: Asked, flow_id: str, after: int, follow: bool) -> None:
    """Print the events of FLOW.

    With --follow and --json every event is an object on a line of its own.

    Example: `argyll flow events order-17 --follow`
    """

    async def printed(app: Argyll) -> None:
        shown = app.flow(flow_id).events(after, follow=follow)
        if asked.as_json and not follow:
            found = [event async for event in shown]
            print_json({"events": found, "count": len(found)})
        elif asked.as_json:
            async for event in shown:
                print_json_line(event)
        else:
            async for event in shown:
                print_text(flow_texts.event_line(event))

    run(asked, lambda app: while_read(printed(app)) if follow else printed(app))


@flow.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@click.argument("step_id", metavar="STEP", shell_complete=complete_steps, required=False)
@common
def why(asked: Asked, flow_id: str, step_id: str | None) -> None:
    """Say why STEP of FLOW is as it is, or each of its goals.

    Why it ran, waits, was skipped, failed, or was never planned. The number before each clause is the
    version of the event that it is about. Without STEP, --json gives `{flow_id, goals}`, with an object a
    goal as it is given for a step.

    Example: `argyll flow why order-17 ship`
    """
    if step_id is None:
        explained = run(asked, lambda app: app.why_goals(flow_id))
        goals = explained["goals"]
    else:
        explained = run(asked, lambda app: app.why(flow_id, step_id))
        goals = [explained]
    if asked.as_json:
        print_json(explained)
    else:
        print_text(*map(flow_texts.explanation, goals))
