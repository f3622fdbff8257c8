"""What commits wait for: options of an engine, and variables that every command reads.

Whoever starts or completes something commits, too, and has to wait as the engines do; one variable in the
environment says it for all of them, where an option of each command would be forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from argyll_redis.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from argyll_redis.config import AppConfig

F = TypeVar("F", bound=Callable[..., Any])

VARIABLES = {
    "wait_replicas": "ARGYLL_WAIT_REPLICAS",
    "wait_aof": "ARGYLL_WAIT_AOF",
    "wait_limit_ms": "ARGYLL_WAIT_LIMIT_MS",
}


def waiting_options(function: F) -> F:
    """Gives a command `--wait-replicas`, `--wait-aof` and `--wait-limit-ms`."""
    replicas = click.option(
        "--wait-replicas",
        metavar="N",
        envvar=VARIABLES["wait_replicas"],
        show_envvar=True,
        show_default="0",
        type=int,
        help="Replicas of Redis that must have a commit before it is answered, and before work begins.",
    )
    aof = click.option(
        "--wait-aof",
        envvar=VARIABLES["wait_aof"],
        show_envvar=True,
        is_flag=True,
        default=None,
        help="Have it on the disk as well: in the append-only file of the server, and of those replicas.",
    )
    limit = click.option(
        "--wait-limit-ms",
        metavar="N",
        envvar=VARIABLES["wait_limit_ms"],
        show_envvar=True,
        show_default="1000",
        type=int,
        help="How long a call waits for that. Then it is not answered, and sent again.",
    )
    return replicas(aof(limit(function)))


def config_of_variables() -> AppConfig:
    """The settings of a command that has no options for them. Raises `InvalidInput`."""
    from argyll_redis.config import AppConfig

    given = {name: os.environ.get(variable) for name, variable in VARIABLES.items()}
    read = {name: _read(name, text) for name, text in given.items() if text}
    try:
        return AppConfig().changed(read)
    except InvalidInput as error:
        problems = [
            Problem(VARIABLES.get(each.path, each.path), each.what, each.mend) for each in error.problems
        ]
        # As a text: what is a problem's path is an option here.
        raise InvalidInput("; ".join(map(str, problems))) from None


def _read(name: str, text: str) -> int | bool:
    """Reads a variable as the option of its name is read."""
    try:
        return click.BOOL.convert(text, None, None) if name == "wait_aof" else int(text)
    except (ValueError, click.BadParameter):
        mend = "use 1 or 0" if name == "wait_aof" else "use a whole number"
        raise InvalidInput(str(Problem(VARIABLES[name], f'is "{text:.40}"', mend))) from None
