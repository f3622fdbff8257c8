"""`argyll repair`: what can be lost, rebuilt from the logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.opened import run_looking
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.refusals import BadNews
from argyll_redis.cli.texts import counted, table, terminal_width

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

HEADERS = ("what", "flow", "key", "detail")


@click.command(short_help="Rebuild queues and indexes from the logs.")
@click.option(
    "--apply", "is_applied", is_flag=True, help="Put right what is found; without it nothing changes."
)
@click.option("--heads", is_flag=True, help="Also heads that know more than their log: the log wins.")
@click.option("--ids", is_flag=True, help="Also partitions that lost their id: go on with what is left.")
@click.option("--dead", is_flag=True, help="Also remove entries that nobody could read.")
@common
def repair(asked: Asked, is_applied: bool, heads: bool, ids: bool, dead: bool) -> None:
    """Compare everything that can be derived from the logs with what is there: the heads of flows, indexes,
    counts of plans, streams and groups, names of queues, released work and due entries, and what is left of
    flows that are gone.

    Nothing is changed without --apply. Engines may run meanwhile: a flow that goes on is never overwritten.
    What cannot be repaired is said and left: a log with a gap, a plan whose bytes are gone, a head that is
    ahead of its log. Exits with 1 when something was found and not put right.

    Example: `argyll repair --apply`
    """

    async def repaired(app: Argyll) -> dict[str, Any]:
        return await app.repair(apply=is_applied, heads=heads, ids=ids, dead=dead)

    found = run_looking(asked, repaired)
    repairs, left = found["repairs"], found["left"]
    if asked.as_json:
        print_json(found)
    elif repairs or left:
        print_text(
            _told("put right" if is_applied else "to put right", repairs), _told("left as it is", left)
        )
    else:
        print_text(f"{counted(found['flows'], 'flow')} looked at: nothing is to be repaired")
    news = _bad_news(found)
    if news:
        raise BadNews(news)


def _told(title: str, findings: list[dict[str, str]]) -> str:
    if not findings:
        return ""
    rows = [[each[name] for name in HEADERS] for each in findings]
    return f"{title}:\n" + table(HEADERS, rows, width=terminal_width(), keep=("what", "flow"))


def _bad_news(found: dict[str, Any]) -> str:
    """What is not put right, and how that is done."""
    flows, repairs, left = counted(found["flows"], "flow"), found["repairs"], found["left"]
    news: list[str] = []
    if repairs and not found["applied"]:
        news.append(f"{counted(len(repairs), 'repair')} needed (run it again with --apply)")
    if left:
        news.append(f"{counted(len(left), 'thing')} cannot be repaired this way")
    return f"{flows} looked at: {'; '.join(news)}" if news else ""
