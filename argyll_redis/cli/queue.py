"""`argyll queue`: what waits and runs."""

from __future__ import annotations

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.texts import duration, table, terminal_width


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
        print_text(table(headers, rows, width=terminal_width()))


def _age(ms: int) -> str:
    return duration(ms) if ms else "-"
