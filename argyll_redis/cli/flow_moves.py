"""`argyll flow restart`, `export` and `import`: a flow once more, and elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from argyll_redis.cli.answers import print_json, print_json_line, print_text
from argyll_redis.cli.completing import complete_files, complete_flows
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common, lines_of, of_file, open_file
from argyll_redis.core.limits import MAX_IMPORT_BYTES
from argyll_redis.errors import InvalidInput

if TYPE_CHECKING:
    from argyll_redis.app import Argyll


@click.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@click.option("--id", metavar="ID", help="The new flow's id.", show_default="one is made")
@common
def restart(asked: Asked, flow_id: str, id: str | None) -> None:
    """Start what FLOW was started with again, as a new flow, and print its id.

    The new flow has the same goals, initial values, labels and metadata, and runs the steps that are
    registered now. FLOW stays as it is, and may be one that was imported.

    Example: `argyll flow restart order-17 --id order-17-again`
    """
    handle = run(asked, lambda app: app.restart(flow_id, id=id))
    if asked.as_json:
        print_json({"message": f"flow {handle.id} is started", "flow_id": handle.id})
    else:
        print_text(handle.id)


@click.command()
@click.argument("flow_id", metavar="FLOW", shell_complete=complete_flows)
@common
def export(asked: Asked, flow_id: str) -> None:
    """Write the log of FLOW to standard output, as lines of JSON (with --json or without it).

    The first line is a header, each other one an event in full. Whoever has the lines can read the
    flow's values and the tokens of its work; the seed that tokens derive from is left out.

    Example: `argyll flow export order-17 > order-17.jsonl`
    """

    async def exported(app: Argyll) -> None:
        async for line in app.export_flow(flow_id):
            print_json_line(line)

    run(asked, exported)


@click.command(name="import")
@click.argument("file", shell_complete=complete_files)
@common
def import_flow(asked: Asked, file: str) -> None:
    """Take in a flow that was exported; FILE "-" is standard input.

    All of it is checked before anything is written: the log must be one that `argyll audit` finds
    nothing wrong with, and no flow of this id may exist. An imported flow is shown, explained and
    audited like any other, and never runs.

    Example: `argyll flow import order-17.jsonl --namespace forensics`
    """
    with open_file(file) as opened:
        lines = lines_of(opened, limit_bytes=MAX_IMPORT_BYTES + 1)
        answer = run(asked, lambda app: _imported(app, file, lines))
    if asked.as_json:
        print_json(answer)
    else:
        print_text(answer["message"])


async def _imported(app: Argyll, file: str, lines: Iterator[bytes]) -> dict[str, str]:
    """Imports lines; what is wrong with them is said of the file."""
    try:
        return await app.import_flow(lines)
    except InvalidInput as error:
        raise of_file(file, error) from None
