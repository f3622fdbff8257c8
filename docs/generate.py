"""Writes the reference pages from the code: `python docs/generate.py`. A test compares them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from argyll_redis import errors
from argyll_redis.core import limits, state
from argyll_redis.core.events import EVENTS
from argyll_redis.store.keys import KEYS

REFERENCE = Path(__file__).parent / "reference"


def first_line(thing: object) -> str:
    """The first sentence of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def states() -> str:
    """The tables of moves, as diagrams."""
    tables: dict[str, Mapping[object, frozenset[object]]] = {
        "Flow": state.FLOW_MOVES,
        "Step": state.STEP_MOVES,
        "Work item": state.WORK_MOVES,
    }  # type: ignore[assignment]
    parts = ["# States\n\nEvery change of a status is checked against these tables.\n"]
    for name, moves in tables.items():
        first = next(iter(moves))
        lines = [f"  [*] --> {first}"]
        lines += [f"  {before} --> {after}" for before in moves for after in sorted(moves[before])]
        lines += [f"  {before} --> [*]" for before in moves if not moves[before]]
        parts.append(f"## {name}\n\n```mermaid\nstateDiagram-v2\n" + "\n".join(lines) + "\n```\n")
    return "\n".join(parts)


def events() -> str:
    """Every event with its fields."""
    rows: list[str] = []
    for type, event in EVENTS.items():
        fields = ", ".join(f"`{name}`" for name in event.fields if not name.endswith("_"))
        rows.append(f"| `{type}` | {first_line(event)} | {fields} |")
    head = (
        "# Events\n\nEntry ids are `<version>-0`. Fields of an entry: `type`, `at` (ms, server clock), "
        "`cause` (version of\nthe event that led to it, 0 when it came from outside), `by` (origin and id), "
        "`tx` (transaction and place in\nit), "
        "`data` (JSON). A field of `data` that is not set is left out. `tokens`, the `value` of an attribute "
        "and the\n`result` follow from other events: they are stored in an imported log alone, which holds "
        "everything in full.\n\n"
        "| type | what happened | data |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def keys() -> str:
    """Every Redis key."""
    rows = [
        f"| `{row.pattern}` | {row.type} | {row.holds} | {', '.join(row.writers)} | {row.lives} |"
        for row in KEYS
    ]
    head = (
        "# Redis keys\n\n`ns` is the namespace, `p` a partition. All keys of a flow have the hash tag of its "
        "partition.\n\n| key | type | holds | written by | lives |\n|---|---|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def limit_rows() -> list[tuple[str, str, str]]:
    """Name, value and meaning of each limit: the text below its assignment."""
    body = ast.parse(inspect.getsource(limits)).body
    rows: list[tuple[str, str, str]] = []
    for node, after in pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr):
            name = ast.unparse(node.targets[0])
            meaning = " ".join(ast.literal_eval(after.value).split())
            rows.append((name, f"{getattr(limits, name):,}", meaning))
    return rows


def limits_page() -> str:
    """Every limit in one table."""
    rows = [f"| `{name}` | {value} | {meaning} |" for name, value, meaning in limit_rows()]
    return "# Limits\n\n| limit | value | of what |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def errors_page() -> str:
    """Every exception, what it means, what the command line ends with."""
    rows = [
        f"| `{name}` | {first_line(kind)} | {kind.http_status} | {kind.exit_status} |"
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.ArgyllError)
    ]
    head = "# Errors\n\n| exception | means | HTTP | exit status |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "states.md": states,
    "events.md": events,
    "keys.md": keys,
    "limits.md": limits_page,
    "errors.md": errors_page,
}
"""Each page of the reference that is made from code, and what makes it."""


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make())


if __name__ == "__main__":
    main()
