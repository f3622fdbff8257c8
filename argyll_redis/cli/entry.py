"""`argyll`: the table of commands, and how every command ends.

A command's module is imported when the command is used; the table has the short help texts, so that
`argyll --help` and completion import none of them. A test holds the table equal to the commands. What
words refusals is imported when there is one.
"""

from __future__ import annotations

import atexit
import io
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

from argyll_redis import __version__

COMMANDS: Mapping[str, tuple[str, str]] = {
    "demo": ("argyll_redis.cli.demo", "Run the main job on real input and watch it."),
    "dev": ("argyll_redis.cli.dev", "Run a server and an engine to try things out on."),
    "engine": ("argyll_redis.cli.engine", "Run an engine: take work, run it, keep flows going."),
    "step": ("argyll_redis.cli.step", "The catalog: register, change and show steps."),
    "plan": ("argyll_redis.cli.plan", "Show what a flow would run, without starting it."),
    "flow": ("argyll_redis.cli.flow", "Start, follow, explain and end flows."),
    "queue": ("argyll_redis.cli.queue", "Show what waits and runs in each queue."),
    "audit": ("argyll_redis.cli.audit", "Check every invariant of one flow or of all."),
    "repair": ("argyll_redis.cli.repair", "Rebuild queues and indexes from the logs."),
    "doctor": ("argyll_redis.cli.doctor", "Look at the server and the namespace, and say what to mend."),
}
"""By name: the module, whose object of that name is the command, and the short help."""


class Root(click.Group):
    """The group of all commands."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Gives the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        if cmd_name not in COMMANDS:
            return None
        return getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command, or suggests the nearest."""
        if args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from argyll_redis.core.reader import did_you_mean

            mend = did_you_mean(args[0], COMMANDS) or f"use one of {', '.join(COMMANDS)}"
            raise click.UsageError(f'there is no command "{args[0]}": {mend}', ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, short) for name, (_, short) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Completes from the table."""
        found = [CompletionItem(name, help=short) for name, (_, short) in COMMANDS.items()]
        own = [item for item in found if item.value.startswith(incomplete)]
        return own + click.Command.shell_complete(self, ctx, incomplete)

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Runs a command and ends with its exit status; never with a traceback."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        sys.exit(self._status(args, prog_name or "argyll", complete_var, **extra))

    def _status(
        self, args: Sequence[str] | None, prog_name: str, complete_var: str | None, **extra: Any
    ) -> int:
        try:
            # What `ctx.exit` was called with, as an int; None or 0 from a command that returned.
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra) or 0
        except click.BadOptionUsage as error:
            # click does not say of which command it is when an option has no value, or one too many.
            error.ctx = error.ctx or self._meant(list(sys.argv[1:] if args is None else args), prog_name)
            return _refused(error)
        except Exception as error:
            return _refused(error)

    def _meant(self, args: Sequence[str], prog_name: str) -> click.Context:
        """The command that the first words name."""
        context = click.Context(self, info_name=prog_name)
        for word in args:
            group = context.command
            found = group.get_command(context, word) if isinstance(group, click.Group) else None
            if found is None:
                break
            context = click.Context(found, parent=context, info_name=word)
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Two ends are taken from click, which adds an empty line to a Ctrl-C and
        calls it bad news (1) when the reader has gone."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise click.Abort from None
        except BrokenPipeError:
            from argyll_redis.cli.refusals import ReaderGone

            _forget_reader()
            raise ReaderGone from None


def _refused(error: Exception) -> int:
    """Says what is wrong, where that can be written; gives the status in any case."""
    from argyll_redis.cli.refusals import refusal_of, say

    with suppress(OSError):
        if isinstance(error, click.UsageError) and type(error).__name__ == "NoArgsIsHelpError":
            error.show()
            return 2
        say(refusal_of(error))
    return refusal_of(error).status


def _forget_reader() -> None:
    """Lets what is still to be written go nowhere: the interpreter flushes once more at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            os.dup2(nowhere, stream.fileno())
        except (OSError, ValueError):
            continue


@click.group(
    cls=Root,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 as asked; 1 bad news; 2 wrong usage or refused input; 3 Redis unreachable or "
    "unfit; 4 not found; 5 gave up waiting.",
)
@click.version_option(__version__, prog_name="argyll", message="%(prog)s %(version)s")
def argyll() -> None:
    """A goal-driven orchestrator on Redis Streams: register steps, ask for goals, run exactly what
    reaches them."""


def main() -> NoReturn:
    """The entry point `argyll`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a letter that the terminal cannot show
    try:
        argyll.main(prog_name="argyll")
    except SystemExit as end:
        _leave(end.code if isinstance(end.code, int) else 1)
    raise AssertionError("main always exits")


def _leave(status: int) -> NoReturn:
    """Ends the process now, even when threads hang on: a name look-up, a step that ignores its end."""
    main_thread = threading.main_thread()
    hanging = [each for each in threading.enumerate() if each is not main_thread and not each.daemon]
    if not hanging:
        sys.exit(status)
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status)
