"""Writes the reference pages from the code: `python docs/generate.py`. A test compares them."""

from __future__ import annotations

import ast
import inspect
import json
import runpy
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from types import ModuleType

from argyll_redis import errors
from argyll_redis.core import audit, limits, state
from argyll_redis.core.events import EVENTS
from argyll_redis.http import api, bodies, metrics, server, socket, stream
from argyll_redis.http import keys as http_keys
from argyll_redis.http.route import Route
from argyll_redis.http.routes import ROUTES
from argyll_redis.http.schemas import COMPONENTS
from argyll_redis.store.answers import ANSWERS, OTHER, Answer
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


def invariants() -> str:
    """Every invariant that an audit checks."""
    rows = [
        f"| {name} | {sentence} | {audit.JOURNALLED.get(name, '')} |"
        for name, sentence in audit.INVARIANTS.items()
    ]
    head = (
        "# Invariants\n\nWhat [`argyll audit`](../guide/audit.md) checks. The last column names the journal "
        "that is needed; all else is\nseen by reading the namespace.\n\n"
        "| name | what holds | journal |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def limit_rows(module: ModuleType = limits) -> list[tuple[str, str, str]]:
    """Name, value and meaning of each limit: the text below its assignment."""
    body = ast.parse(inspect.getsource(module)).body
    rows: list[tuple[str, str, str]] = []
    for node, after in pairwise(body):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr):
            name = ast.unparse(node.targets[0])
            value = getattr(module, name, None)
            if isinstance(value, int | float):
                meaning = " ".join(ast.literal_eval(after.value).split())
                rows.append((name, f"{value:,}", meaning))
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


def redis_errors_page() -> str:
    """What every error reply of the server means here."""
    rows = [
        f"| `{code}` | {answer.treatment} | {_raised(answer)} |"
        for code, answer in [*ANSWERS.items(), ("any other", OTHER)]
    ]
    head = (
        "# Error replies of Redis\n\n"
        "What the server may answer, by its code, or by its words where it gives no code (`ERR ...`); what "
        "is done\nthen; and the [exception](errors.md) that is raised where that is not the end of it. "
        "`EMPTIED` ends an engine, as\n`BADARG` does, a bug; all others it outlives. None is followed by "
        "the same call at once.\n\n"
        "| reply | what is done | exception |\n|---|---|---|\n"
    )
    return head + "\n".join(rows) + "\n"


def _raised(answer: Answer) -> str:
    name = answer.error.__name__
    return f"`{name}`" if name in vars(errors) else ""


def http_page() -> str:
    """Every route, and the shapes that go in and come out."""
    rows = [
        f"| `{route.method} {route.path}` | {route.role.word if route.role else '-'} | {route.says} |"
        for route in ROUTES
    ]
    parts = [
        "# HTTP API",
        "What every route takes and answers; how to use them is in [the guide](../guide/http.md). `GET "
        "/openapi.json` has the\nsame as an OpenAPI document. A refusal is always `{error, status}`. The "
        "role is what a key needs at least; `-` needs none.",
        "\n".join(["| route | role | does |", "|---|---|---|", *rows]),
        "\n\n".join(_route(route) for route in ROUTES),
        "## Limits of the server",
        "\n".join(["| limit | value | of what |", "|---|---|---|", *_server_limits()]),
        "## Shapes",
        "\n\n".join(
            f"### {name}\n\n```json\n{json.dumps(schema, indent=1)}\n```"
            for name, schema in COMPONENTS.items()
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _route(route: Route) -> str:
    lines = [f"## {route.method} {route.path}", "", route.says, ""]
    lines += [f"- `?{name}=N`: {each.says}" for name, each in route.numbers.items()]
    if route.body is not None:
        lines.append(f"- body, at most {route.max_body_bytes:,} bytes: {_shape(route.body)}")
    for status, answer in route.answers.items():
        shape = f": {_shape(answer.schema)}" if answer.schema is not None else ""
        lines.append(f"- {status}: {answer.says.removesuffix('.')}{shape}")
    return "\n".join(lines)


def _shape(schema: Mapping[str, object]) -> str:
    """A schema in few words."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if schema.get("type") == "array":
        return f"list of {_shape(schema['items'])}"  # type: ignore[arg-type]
    names = ", ".join(f"`{name}`" for name in schema.get("properties", {}))  # type: ignore[attr-defined]
    return f"object of {names}" if names else "any object"


def _server_limits() -> list[str]:
    """The limits of the modules of the server: numbers with the text below their assignment."""
    return [
        f"| `{name}` | {value} | {meaning} |"
        for module in (api, bodies, http_keys, metrics, server, socket, stream)
        for name, value, meaning in limit_rows(module)
        if name.startswith("MAX_") or name.endswith(("_S", "_MS"))
    ]


# ------------------------------------------------------------------------ contract

TESTS = Path(__file__).parent.parent / "tests"
OUTSIDE = "contract"
"""The folder of tests that start processes and speak HTTP with them."""
SUBJECTS = {
    "steps": "Steps",
    "planning": "Planning",
    "life": "The life of a flow, a step, a work item",
    "inputs": "Inputs and scripts",
    "items": "Work items",
    "outcomes": "Calls, outcomes, retries, time",
    "tokens": "Tokens, duplicates, late answers",
    "children": "Sub-flows",
    "memo and undo": "Reuse and undoing",
    "http": "The HTTP API",
}
"""The subjects of the table, as marks name them, in order."""


def marked_rows() -> list[tuple[str, str, Path, str]]:
    """What tests are marked as showing: subject, words, the test's file within `tests`, its name. Raises
    `ValueError` for a subject that is not known."""
    rows: list[tuple[str, str, Path, str]] = []
    for file in sorted(TESTS.rglob("test_*.py")):
        text = file.read_text()
        if "contract(" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            for mark in getattr(node, "decorator_list", ()):
                if isinstance(mark, ast.Call) and ast.unparse(mark.func) in (
                    "contract",
                    "pytest.mark.contract",
                ):
                    subject, words = (ast.literal_eval(each) for each in mark.args)
                    if subject not in SUBJECTS:
                        raise ValueError(f"{file.name}: {subject} is no subject of the contract")
                    rows.append((subject, words, file.relative_to(TESTS), node.name))  # type: ignore[attr-defined]
    return rows


def contract_page() -> str:
    """What the product promises, row by row, and the test that shows it."""
    rows = marked_rows()
    parts = [
        "# Contract",
        "What the product promises, and the test that shows it. What processes and the network have to do "
        "with is shown **from\noutside**: three engine processes on a real Redis, asked over HTTP as any "
        "client would; where the death of an engine can\nmatter, one is killed (`kill -9`) in the middle of "
        "its work. The rest is shown within one process. The rows come from\nmarks on the tests: a test that "
        "goes takes its row along.",
    ]
    for subject, title in SUBJECTS.items():
        own = [row[1:] for row in rows if row[0] == subject]
        own.sort(key=lambda row: row[1].parts[0] != OUTSIDE)
        lines = [f"## {title}", "", "| what | from outside | shown by |", "|---|---|---|"]
        lines += [
            f"| {words} | {'yes' if file.parts[0] == OUTSIDE else ''} "
            f"| [{_in_words(name)}](../../tests/{file.as_posix()}) |"
            for words, file, name in own
        ]
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _taken_away()]) + "\n"


def _in_words(name: str) -> str:
    return name.removeprefix("test_").replace("_", " ")


def _taken_away() -> str:
    taken = runpy.run_path(str(TESTS / OUTSIDE / "taken_away.py"))["TAKEN"]
    lines = [
        "## Taken away, one at a time, and noticed",
        "",
        "A table of tests is worth what its tests notice. `python tests/contract/taken_away.py` takes each "
        "of these away from a\ncopy of the tree, and runs the test that has to fail.",
        "",
        "| taken away | noticed by |",
        "|---|---|",
    ]
    for each in taken:
        file, _, name = each.test.partition("::")
        lines.append(f"| {each.behaviour} | [{_in_words(name)}](../../tests/{OUTSIDE}/{file}) |")
    return "\n".join(lines)


def step_page() -> str:
    """The definition of a step, field by field."""
    return runpy.run_path(str(Path(__file__).parent / "step_page.py"))["page"]()


PAGES: Mapping[str, Callable[[], str]] = {
    "contract.md": contract_page,
    "steps.md": step_page,
    "states.md": states,
    "events.md": events,
    "keys.md": keys,
    "invariants.md": invariants,
    "limits.md": limits_page,
    "errors.md": errors_page,
    "redis-errors.md": redis_errors_page,
    "http.md": http_page,
}
"""Each page of the reference that is made from code, and what makes it."""


def main() -> None:
    REFERENCE.mkdir(exist_ok=True)
    for name, make in PAGES.items():
        (REFERENCE / name).write_text(make())


if __name__ == "__main__":
    main()
