"""`argyll queue`: what waits and runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.texts import beside, duration, table, terminal_width
from argyll_redis.core.text import printable


@click.command(short_help="Show what waits and runs in each queue.")
@common
def queue(asked: Asked) -> None:
    """Show what waits and runs in each queue, and how many live engines serve it.

    `builtin` is the queue of all steps but python ones, `control` is what engines should look at.

    Example: `argyll queue`
    """
    stats = run(asked, lambda app: app.queue_stats())
    if asked.as_json:
        print_json(stats)
    elif not stats["queues"]:
        print_text("no queues yet: no step is registered and no engine was started")
    else:
        rows = [
            (
                each["queue"],
                each["depth"],
                each["in_flight"],
                each["due"],
                _age(each["oldest"]),
                each["engines"],
            )
            for each in stats["queues"]
        ]
        headers = ("queue", "waiting", "running", "due later", "oldest", "engines")
        notes = "\n".join(beside("", note) for note in _unserved(stats["queues"]))
        print_text(table(headers, rows, width=terminal_width()), notes)


def _unserved(queues: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the numbers do not say by themselves: that work lies there and nobody takes it, and that what
    is counted as running was with an engine that is gone."""
    if not any(each["engines"] for each in queues):
        if any(each["depth"] or each["in_flight"] or each["due"] for each in queues):
            taken = ", which takes over what was running" if any(each["in_flight"] for each in queues) else ""
            yield f"no engine is alive: nothing goes on until one runs (`argyll engine`){taken}"
        return
    for each in queues:
        count = each["depth"] + each["in_flight"] + each["due"]
        if count and not each["engines"]:
            lies = "entry lies" if count == 1 else "entries lie"
            yield f"{count:,} {lies} in {printable(each['queue'])}, which no live engine serves"


def _age(ms: int) -> str:
    return duration(ms) if ms else "-"
