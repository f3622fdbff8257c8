"""`argyll demo`: the main job on real input, watched while it runs, and checked."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.demo_screen import DemoScreen, screen_for
from argyll_redis.cli.demo_summary import document, text
from argyll_redis.cli.opened import run_async
from argyll_redis.cli.refusals import BadNews, Refusal, say

if TYPE_CHECKING:
    from argyll_redis.demo.run import Outcome, Request

BAD_NEWS = BadNews.exit_status
STEPS_SHOWN = 9
"""Rows that the screen needs: the steps of the plan."""


@click.command(short_help="Run the main job on real input and watch it.")
@click.option("--no-crash", is_flag=True, help="Do not kill an engine in the middle.")
@click.option(
    "--report-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default="argyll-demo",
    show_default=True,
    help="Where the report goes.",
)
@click.option("--deep", is_flag=True, help="Profile the most complex modules, too.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    hidden=True,
    help="Another folder of Python source to analyse.",
)
@click.option(
    "--redis",
    "url",
    metavar="URL",
    envvar="ARGYLL_REDIS_URL",
    show_envvar=True,
    show_default="an embedded one",
    help="The Redis to use.",
)
@click.option(
    "--namespace",
    metavar="NAME",
    envvar="ARGYLL_NAMESPACE",
    show_envvar=True,
    default="argyll-demo",
    show_default=True,
    help="The namespace in it.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer as JSON.")
def demo(
    no_crash: bool,
    report_dir: Path,
    deep: bool,
    root: Path | None,
    url: str | None,
    namespace: str,
    as_json: bool,
) -> None:
    """Analyse the standard library of this Python: what its modules rest on, which import each other in
    circles, where the intricate code is.

    Some hundreds of real files are parsed and measured by a flow; the report is a page of HTML and one of
    Markdown. Without --redis a server from PATH is started for this command only; then two engine
    processes share the work, and one of them is killed in the middle. Without a server on PATH, it runs
    in memory. At the end everything is checked; exits with 1 when anything is off.

    Example: `argyll demo --report-dir report`
    """
    from argyll_redis.demo.analysis import standard_library
    from argyll_redis.demo.run import Request

    request = Request(
        root=os.path.abspath(root or standard_library()),
        report_dir=os.path.abspath(report_dir),
        url=url,
        namespace=namespace,
        with_crash=not no_crash,
        is_deep=deep,
    )
    with screen_for(as_json=as_json, steps=STEPS_SHOWN) as screen:
        log = logging.getLogger("argyll_redis")
        kept_level = log.level
        log.setLevel(logging.ERROR)
        log.addHandler(handler := _OnScreen(screen))
        try:
            outcome = run_async(lambda: _run(request, screen))
        finally:
            log.removeHandler(handler)
            log.setLevel(kept_level)
    if as_json:
        print_json(document(outcome))
    else:
        print_text(text(outcome))
    if outcome.problems:
        say(Refusal(tuple(outcome.problems), BAD_NEWS))
        click.get_current_context().exit(BAD_NEWS)


class _OnScreen(logging.Handler):
    """Shows errors of this process between the lines of the screen."""

    def __init__(self, screen: DemoScreen) -> None:
        super().__init__(logging.ERROR)
        self._screen = screen

    def emit(self, record: logging.LogRecord) -> None:
        self._screen.say(record.getMessage())


async def _run(request: Request, screen: DemoScreen) -> Outcome:
    from argyll_redis.demo.run import run

    return await run(request, screen)
