"""What commands put on standard output: JSON documents, lines of JSON, text."""

from __future__ import annotations

import sys
from typing import Any

import click

from argyll_redis.cli.texts import is_terminal


def print_json(document: Any) -> None:
    """Prints one document: indented on a terminal, on one line elsewhere."""
    import orjson

    option = orjson.OPT_APPEND_NEWLINE
    if is_terminal(sys.stdout):
        option |= orjson.OPT_INDENT_2
    click.echo(orjson.dumps(document, option=option), nl=False)


def print_json_line(document: Any) -> None:
    """Prints one object on a line of its own, for commands that follow."""
    import orjson

    click.echo(orjson.dumps(document))


def print_text(*blocks: str) -> None:
    """Prints blocks of lines with an empty line between them; empty blocks are left out."""
    click.echo("\n\n".join(block for block in blocks if block))
