"""`argyll audit`: are the logs as they must be?"""

from __future__ import annotations

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.completing import complete_flows
from argyll_redis.cli.opened import run
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.refusals import BadNews
from argyll_redis.cli.texts import counted, table, terminal_width


@click.command(short_help="Check every invariant of one flow or of all.")
@click.argument("flow", required=False, shell_complete=complete_flows)
@common
def audit(asked: Asked, flow: str | None) -> None:
    """Check every invariant that a log can show, of FLOW or of all flows of the namespace.

    Nothing is changed. Exits with 1 when an invariant is violated.

    Example: `argyll audit order-17`
    """
    found = run(asked, lambda app: app.audit(flow))
    violations = found["violations"]
    flows = counted(found["flows"], "flow")
    if asked.as_json:
        print_json(found)
    elif violations:
        rows = [(each["flow"], each["invariant"], each["version"], each["message"]) for each in violations]
        headers = ("flow", "invariant", "version", "message")
        print_text(table(headers, rows, width=terminal_width(), keep=("flow", "invariant")))
    else:
        print_text(f"{flows} audited: every invariant holds")
    if violations:
        raise BadNews(f"{flows} audited: {counted(len(violations), 'violation')} found")
