"""`argyll doctor`: is the server fit, and does the namespace lack anything?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from argyll_redis.cli.answers import print_json, print_text
from argyll_redis.cli.opened import run_looking
from argyll_redis.cli.options import Asked, common
from argyll_redis.cli.refusals import BadNews
from argyll_redis.cli.texts import Painted, beside, counted, paint
from argyll_redis.core.text import printable

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

COLOURS = {"ok": "green", "warning": "yellow", "fault": "red"}


@click.command(short_help="Look at the server and the namespace, and say what to mend.")
@common
def doctor(asked: Asked) -> None:
    """Look at the server and the namespace, and say what to mend.

    Its version, what it does when it is full, whether it keeps its data, its memory, its role and its
    replicas, its clock; whether scripts run, and what the user may not do; the layout of the namespace, the
    engines that are alive and what they say is wrong with them, queues in which work waits and nobody takes
    it, entries that are lost, stuck, overdue or that nobody could read, keys that do not belong there.
    Of keys and of what is pending 100,000 are looked at. Nothing is changed or created. Exits with 1 when
    there is a fault; warnings are no fault.

    Example: `argyll doctor --redis redis://localhost:6379/0`
    """

    async def looked(app: Argyll) -> dict[str, Any]:
        return await app.doctor()

    found = run_looking(asked, looked)
    if asked.as_json:
        print_json(found)
    else:
        print_text("\n".join(_line(each) for each in found["findings"]))
    faults = sum(each["level"] == "fault" for each in found["findings"])
    if faults:
        raise BadNews(f"{counted(faults, 'fault')} found")


def _line(finding: dict[str, str]) -> str:
    level: Painted = paint(f"{finding['level']:<7}", COLOURS[finding["level"]])
    mend = f" ({finding['mend']})" if finding["mend"] else ""
    return beside(f"{level}  ", printable(finding["what"] + mend))
