"""From an exception to what the command line says and ends with: the only place that decides it.

0 as asked; 1 bad news; 2 wrong usage or refused input; 3 Redis unreachable or unfit; 4 not found;
5 gave up waiting. Beside these: 70 for a bug of ours, 130 after Ctrl-C, 141 when the reader of our
output has gone, as shells know them.
"""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import dataclass

import click
from click.core import ParameterSource

from argyll_redis.cli.texts import paint
from argyll_redis.core.text import printable
from argyll_redis.errors import ArgyllError, Invalid, StoreUnavailable

BUG = 70
INTERRUPTED = 130
READER_GONE = 141
DEBUG_VARIABLE = "ARGYLL_DEBUG"
WHERE_REDIS_IS = "--redis or ARGYLL_REDIS_URL says where it is"


class GaveUpWaiting(ArgyllError):
    """Gave up waiting."""

    exit_status = 5


class BadNews(ArgyllError):
    """What was asked for was done, and it is not good."""

    exit_status = 1


class ReaderGone(Exception):
    """Whoever read the output wants no more of it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What to say on standard error, and the exit status."""

    lines: tuple[str, ...]
    status: int


def refusal_of(error: BaseException) -> Refusal:
    """Says what an exception means to whoever gave the command."""
    match error:
        case Invalid() if len(error.problems) > 1:
            return Refusal(_each_problem(error), error.exit_status)
        case StoreUnavailable() if error.address:
            return Refusal((f"{error}: {WHERE_REDIS_IS}",), error.exit_status)
        case ArgyllError():
            return Refusal((str(error),), error.exit_status)
        case click.UsageError():
            return Refusal((_usage(error),), 2)
        case click.ClickException():
            return Refusal((error.format_message(),), error.exit_code)
        case KeyboardInterrupt() | click.Abort():
            return Refusal(("interrupted",), INTERRUPTED)
        case ReaderGone():
            return Refusal((), READER_GONE)
        case OSError():
            return Refusal((f"the answer cannot be written: {error.strerror or error}",), BadNews.exit_status)
        case _:
            return Refusal((_bug(error),), BUG)


def say(refusal: Refusal) -> None:
    """Writes a refusal to standard error, one line each."""
    for line in refusal.lines:
        click.echo(f"{paint('error:', 'red', stream=sys.stderr)} {printable(line)}", err=True)


def _each_problem(error: Invalid) -> tuple[str, ...]:
    """All that is wrong, one a line, under what it is wrong with."""
    problems = tuple(str(problem) for problem in error.problems)
    head = str(error).removesuffix("; ".join(problems)).removesuffix(": ")
    return (head, *problems) if head else problems


def _usage(error: click.UsageError) -> str:
    message = error.format_message().strip().replace("\n", " ")
    message = message[:1].lower() + message[1:].rstrip(".")
    param: click.Parameter | None = getattr(error, "param", None)
    if error.ctx and param and param.envvar:
        # click names the variable of an option always; it matters where the value came from it.
        message = message.replace(f" (env var: '{param.envvar}')", "")
        if error.ctx.get_parameter_source(param.name or "") is ParameterSource.ENVIRONMENT:
            message += f" (from the variable {param.envvar})"
    command = error.ctx.command_path if error.ctx else "argyll"
    return f"{message} (see {command} --help)"


def _bug(error: BaseException) -> str:
    if os.environ.get(DEBUG_VARIABLE):
        traceback.print_exception(error)
    text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return f"this is a bug of argyll: {text} (set {DEBUG_VARIABLE}=1 to see where it is)"
