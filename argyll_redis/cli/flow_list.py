"""`argyll flow list`: flows found by id, labels and status, a page at a time."""

from __future__ import annotations

import click

from argyll_redis.cli import flow_texts
from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common, read_texts
from argyll_redis.errors import InvalidInput, Problem

OPTIONS = {"id_prefix": "--prefix", "labels": "--label", "statuses": "--status"}
"""What asks for the arguments of a query whose option has another name."""


@click.command(name="list")
@click.option("--prefix", metavar="TEXT", help="Only flows whose id begins so.")
@click.option("--label", metavar="KEY=VALUE", multiple=True, help="Only flows with this label.")
@click.option("--status", metavar="STATUS", multiple=True, help="Only flows of this status, or of these.")
@click.option("--limit", metavar="N", type=int, help="How many, 1 to 1,000.", show_default="100")
@click.option(
    "--sort", metavar="ORDER", help="By start: recent_desc or recent_asc.", show_default="recent_desc"
)
@click.option("--cursor", metavar="CURSOR", help="The page after the one that gave this cursor.")
@common
def list_flows(
    asked: Asked,
    prefix: str | None,
    label: tuple[str, ...],
    status: tuple[str, ...],
    limit: int | None,
    sort: str | None,
    cursor: str | None,
) -> None:
    """List flows, the newest first.

    Of flows that match in large numbers the first 10,000 are looked at.

    Example: `argyll flow list --status failed --label tenant=acme`
    """
    query = {
        "id_prefix": prefix,
        "labels": read_texts(label, "--label"),
        "statuses": list(status) or None,
        "limit": limit,
        "sort": sort,
        "cursor": cursor,
    }
    given = {name: value for name, value in query.items() if value is not None}
    try:
        found = run(asked, lambda app: app.query(**given))
    except InvalidInput as error:
        raise _of_options(error) from None
    if asked.as_json:
        print_json(found)
        return
    print_text(flow_texts.flow_table(found["flows"]) if found["flows"] else "no flows")
    if found["has_more"]:
        print_text(flow_texts.next_page(found))


def _of_options(error: InvalidInput) -> InvalidInput:
    """What is wrong with a query, said of the options that asked for it."""
    if not error.problems:
        return error
    return InvalidInput(problems=[Problem(_option(p.path), p.what, p.mend) for p in error.problems])


def _option(path: str) -> str:
    name = path.partition("[")[0].partition(".")[0]
    return OPTIONS.get(name, f"--{name}")
