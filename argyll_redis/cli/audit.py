"""`argyll audit`: are the logs, and what is kept beside them, as they must be?"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.completing import complete_flows
from argyll_redis.cli.opened import run_looking
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.refusals import BadNews
from argyll_redis.cli.texts import counted, is_terminal, table, terminal_width

if TYPE_CHECKING:
    from argyll_redis.audit import Report

CLEARED = "\r\x1b[K"
"""Empties the line of a terminal."""
HEADERS = ("flow", "invariant", "version", "message")


@click.command(short_help="Check every invariant of one flow or of all.")
@click.argument("flow", required=False, shell_complete=complete_flows)
@click.option(
    "--calls",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    help="A journal of what called services saw: lines of JSON, {flow, step, token, attempt} a call, with at "
    "(unix ms) and outputs where known. The same option again adds another.",
)
@click.option(
    "--answers",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    help="A journal of what clients and engines were told: lines of JSON, {do, flow, ...}; do is start, "
    "cancel, complete, fail, webhook, read, feed, knew or alarm. The same option again adds another.",
)
@click.option(
    "--drained",
    is_flag=True,
    help="All work has ended: a flow that is open is a violation, and so is an entry.",
)
@common
def audit(
    asked: Asked, flow: str | None, calls: tuple[str, ...], answers: tuple[str, ...], drained: bool
) -> None:
    """Check every invariant of FLOW and its children, or of the whole namespace.

    Logs, heads, indexes, queues and keys are read, and journals, where there are some. Nothing is changed.
    Exits with 1 when an invariant is violated.

    Example: `argyll audit order-17`
    """
    show = _shown if is_terminal(sys.stderr) and not asked.as_json else None
    try:
        report = run_looking(
            asked,
            lambda app: app.audit_report(
                flow, calls=calls, answers=answers, is_drained=drained, on_progress=show
            ),
        )
    finally:
        if show is not None:
            click.echo(CLEARED, nl=False, err=True)
    if asked.as_json:
        print_json(report.as_json())
    else:
        _print(report)
    if report.count:
        raise BadNews(f"{_looked_at(report)}: {counted(report.count, 'violation')} found")


def _shown(done: int, total: int) -> None:
    """Says on one line of the terminal how far it is."""
    click.echo(f"{CLEARED}{done:,} of {total:,} flows audited", nl=False, err=True)


def _print(report: Report) -> None:
    rows = [(each.flow, each.invariant, each.version, each.message) for each in report.violations]
    found = table(HEADERS, rows, width=terminal_width(), keep=("flow", "invariant")) if rows else ""
    more = f"{report.more:,} more violations are not listed" if report.more else ""
    well = "" if rows else f"{_looked_at(report)}: every invariant that was checked holds"
    print_text(found, more, well, _unchecked(report.unchecked))


def _looked_at(report: Report) -> str:
    return f"{counted(report.flows, 'flow')}, {counted(report.events, 'event')} audited"


def _unchecked(unchecked: Mapping[str, str]) -> str:
    """What nothing was said of, by reason."""
    by_reason: dict[str, list[str]] = {}
    for invariant, reason in sorted(unchecked.items()):
        by_reason.setdefault(reason, []).append(invariant)
    told = [f"{', '.join(invariants)} ({reason})" for reason, invariants in by_reason.items()]
    return f"not checked: {'; '.join(told)}" if told else ""
