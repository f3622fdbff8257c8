"""`argyll flow restart`, `export` and `import`: a flow once more, and elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from argyll_redis.cli.answers import print_json, print_json_line, print_text
from argyll_redis.cli.completing import complete_flows
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import STANDARD_INPUT, Asked, common, name_of
from argyll_redis.errors import InvalidInput, Problem

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
@click.argument("file")
@common
def import_flow(asked: Asked, file: str) -> None:
    """Take in a flow that was exported; FILE "-" is standard input.

    All of it is checked before anything is written: the log must be one that `argyll audit` finds
    nothing wrong with, and no flow of this id may exist. An imported flow is shown, explained and
    audited like any other, and never runs.

    Example: `argyll flow import order-17.jsonl --namespace forensics`
    """

    async def imported(app: Argyll) -> dict[str, str]:
        with _lines(file) as lines:
            return await app.import_flow(lines)

    try:
        answer = run(asked, imported)
    except InvalidInput as error:
        raise _of_file(file, error) from None
    if asked.as_json:
        print_json(answer)
    else:
        print_text(answer["message"])


@contextmanager
def _lines(file: str) -> Iterator[Iterator[bytes]]:
    """A file line by line, never more of it than can be imported. Raises `InvalidInput`."""
    from argyll_redis.archive import MAX_IMPORT_BYTES

    with ExitStack() as closing:
        try:
            is_standard = file == STANDARD_INPUT
            opened = sys.stdin.buffer if is_standard else closing.enter_context(Path(file).open("rb"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise InvalidInput(problems=[Problem("", f"cannot be read: {reason.lower()}")]) from None
        yield iter(lambda: opened.readline(MAX_IMPORT_BYTES + 1), b"")


def _of_file(file: str, error: InvalidInput) -> InvalidInput:
    """What is wrong with a document, said of its file."""
    name = name_of(file)
    problems = [Problem(f"{name}: {p.path}" if p.path else name, p.what, p.mend) for p in error.problems]
    return InvalidInput(problems=problems) if problems else error
