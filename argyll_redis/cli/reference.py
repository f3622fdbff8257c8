"""The reference page of the command line, made from the commands themselves.

`python -m argyll_redis.cli.reference > docs/reference/cli.md`; a test holds the page equal.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import cleandoc

import click

from argyll_redis.cli.entry import COMMANDS, argyll

HEAD = """\
# The command line

This page is made from the commands (`python -m argyll_redis.cli.reference`); `argyll COMMAND --help` says
the same.

## What holds for every command

`--redis URL` and `--namespace NAME`, or the variables `ARGYLL_REDIS_URL` and `ARGYLL_NAMESPACE`, say where a
command goes. Without them it is `redis://localhost:6379/0` and `argyll`; `argyll demo` and `argyll dev` start
a server of their own instead. Passwords in URLs are never printed.

With `--json` a command prints one JSON document on standard output: what the matching route of the HTTP
API answers. A command that follows (`argyll flow events --follow`, `argyll flow watch`, `argyll engine`,
`argyll dev`) prints one object a line, and so does `argyll flow export`. `argyll flow wait` and
`argyll flow start --wait` print `{id, status, result, error}`. What is wrong is said on standard error, one
line each, as `error: ...`. Nothing asks questions.

Text is for people: tables are aligned by spaces, shortened only on a terminal, and coloured only there and
when `NO_COLOR` is not set.

| exit status | means |
|---|---|
| 0 | as asked |
| 1 | bad news: a flow failed, an invariant is violated, the doctor found a fault; or Redis holds or answers \
what no rule allows |
| 2 | wrong usage or refused input |
| 3 | Redis cannot be reached or is unfit |
| 4 | no such flow, step or token |
| 5 | gave up waiting |
| 70 | a bug of argyll; `ARGYLL_DEBUG=1` shows where |
| 130 | interrupted by Ctrl-C |
| 141 | whoever read the output has gone |

**Initial values.** `--init name=value` gives one value of an attribute: JSON if it parses, else text. `n=3`
is a number, `n='"3"'` and `n=three` are texts, `xs='[1, 2]'` is one value, a list. The same name again adds
another value. `--init-file FILE` reads an object of names to one value each; the values of options come after
them. NaN, whole numbers beyond 64 bit and objects with a key twice are refused.

**Completion** of commands, options, flow ids and step ids, for the shell's start-up file:

| shell | file | line |
|---|---|---|
| bash | `~/.bashrc` | `eval "$(_ARGYLL_COMPLETE=bash_source argyll)"` |
| zsh | `~/.zshrc` | `eval "$(_ARGYLL_COMPLETE=zsh_source argyll)"` |
| fish | `~/.config/fish/completions/argyll.fish` | `_ARGYLL_COMPLETE=fish_source argyll \\| source` |

Ids are looked up where the command would go: `--redis` and `--namespace` on the line count, and so do the
variables. When the server does not answer in a moment, nothing is offered.
"""


def reference() -> str:
    """The page, the same for the same commands."""
    context = click.Context(argyll, info_name="argyll")
    sections = [HEAD]
    for name in COMMANDS:
        command = argyll.get_command(context, name)
        assert command is not None
        sections.extend(_sections(command, f"argyll {name}"))
    return "\n".join(sections)


def commands_of(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """A command and, of a group, the commands in it, each with how it is called."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in command.commands.items():
            yield from commands_of(inner, f"{path} {name}")


def _sections(command: click.Command, path: str) -> Iterator[str]:
    for called, each in commands_of(command, path):
        yield f"## {called}\n"
        yield f"{_flowing(each.help or '')}\n"
        if not isinstance(each, click.Group):
            yield f"```text\n{_usage(called, each)}\n```\n"
            yield _options(each)


def _flowing(help: str) -> str:
    """Paragraphs as they are written, without their indentation (which depends on the version of
    Python) and without click's marks."""
    return cleandoc(help).replace("\b\n", "").strip()


def _usage(called: str, command: click.Command) -> str:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    names = [(each.metavar or (each.name or "").upper(), each.required) for each in arguments]
    return " ".join([called, "[OPTIONS]", *(name if needed else f"[{name}]" for name, needed in names)])


def _options(command: click.Command) -> str:
    rows = [
        f"| `{_declared(each)}` | {_variable(each)} | {_default(each)} | {each.help or ''} |"
        for each in command.params
        if isinstance(each, click.Option) and not each.hidden
    ]
    return "\n".join(["| option | variable | default | meaning |", "|---|---|---|---|", *rows, ""])


def _declared(option: click.Option) -> str:
    value = ""
    if not option.is_flag:
        choices = getattr(option.type, "choices", None)
        value = " " + ("\\|".join(choices) if choices else option.metavar or option.type.name.upper())
    return ", ".join(option.opts) + value


def _variable(option: click.Option) -> str:
    return f"`{option.envvar}`" if option.envvar else ""


def _default(option: click.Option) -> str:
    """The default as help shows it: some options say in words what it is."""
    if isinstance(option.show_default, str):
        return option.show_default
    return str(option.default) if option.show_default else ""


if __name__ == "__main__":
    click.echo(reference(), nl=False)
