"""The house: which room may import which, and what the pure core may not touch."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "argyll_redis"

LAYERS: tuple[frozenset[str], ...] = (
    frozenset({"errors"}),
    frozenset({"core"}),
    frozenset({"scripting", "store", "declare", "steps"}),
    frozenset({"runtime"}),
    frozenset(
        {
            *("app", "archive", "audit", "catalog_api", "config", "connection", "doctor", "handle", "health"),
            *("moving", "outside", "progress", "querying", "reading", "reading_children", "starting"),
            *("looking", "repair", "repairing", "doctor_engines", "doctor_keys", "doctor_pending"),
            *("sync", "tally", "views", "watching"),
        }
    ),
    frozenset({"", "testing"}),
    frozenset({"demo", "http"}),
    frozenset({"cli"}),
)
"""From the ground up; the package itself ("") only gives public names."""

CORE_MAY_IMPORT = frozenset(
    {
        "__future__", "bisect", "collections", "dataclasses", "difflib", "enum", "functools", "hashlib",
        "heapq", "itertools", "json", "math", "re", "typing", "urllib",
    }
)  # fmt: skip


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """The room of `argyll_redis.<room>...`; the package itself for one of its public names."""
    name = module.removeprefix("argyll_redis").removeprefix(".").partition(".")[0]
    return name if any(name in layer for layer in LAYERS) else ""


def imports_of(path: Path) -> list[str]:
    """Modules that a file imports when it runs: not those for type checkers alone."""
    found: list[str] = []
    skipped: set[ast.AST] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            skipped.update(child for part in node.body for child in ast.walk(part))
        elif node not in skipped and isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif node not in skipped and isinstance(node, ast.ImportFrom):
            found.append(node.module or "")
    return found


def level_of(room: str) -> int:
    return next(level for level, rooms in enumerate(LAYERS) if room in rooms)


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    """A file imports from its own layer or below."""
    own = level_of(
        room_of("argyll_redis." + path.relative_to(PACKAGE).with_suffix("").parts[0].replace("__init__", ""))
    )
    above = [
        module
        for module in imports_of(path)
        if module.startswith("argyll_redis") and level_of(room_of(module)) > own
    ]
    assert above == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_is_pure(path: Path) -> None:
    """The core imports no I/O, no clock and no randomness, and opens nothing."""
    outside = {
        module.partition(".")[0] for module in imports_of(path) if not module.startswith("argyll_redis")
    }
    assert outside - CORE_MAY_IMPORT == set()
    calls = {
        node.func.id
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert calls & {"open", "print", "input", "eval", "exec", "__import__"} == set()


def test_the_core_imports_the_errors_alone_of_the_package() -> None:
    """Nothing in the core leads out of it."""
    rooms = {
        room_of(module)
        for path in (PACKAGE / "core").glob("*.py")
        for module in imports_of(path)
        if module.startswith("argyll_redis")
    }
    assert rooms == {"core", "errors"}


CLOCK_WORDS = {"time", "random", "secrets", "uuid"}
MAY_READ_CLOCKS = {
    "runtime/clock.py": "the one place",
    "runtime/embedded.py": "waits for a child process",
    "store/memory_server.py": "stands for a server, which has a clock",
    "store/redis.py": "names a new namespace",
    "store/sentinel.py": "asks again where the master is, now and then",
    "scripting/lua.py": "a last limit on the processor time of a script",
}


def test_only_one_module_reads_a_clock_or_draws_at_random() -> None:
    """Nothing that decides reads a clock: those who do are named, with their reason."""
    readers = {
        str(path.relative_to(PACKAGE))
        for path in files()
        if path.relative_to(PACKAGE).parts[0] not in ("demo", "cli", "testing")
        and CLOCK_WORDS & {module.partition(".")[0] for module in imports_of(path)}
    }
    assert readers - MAY_READ_CLOCKS.keys() == set()


def test_every_layer_is_there() -> None:
    """The table names no room that does not exist."""
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in files()} - {"__init__"}
    assert {room for layer in LAYERS for room in layer} - {""} == rooms
    assert sys.version_info >= (3, 11)
