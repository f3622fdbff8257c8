"""Measures Python modules and the imports between them, from their source alone.

Every function here takes and gives plain JSON values, sorts what has no order of its own, and asks
neither a clock nor chance: the same files give the same figures, wherever and however often a step
runs. Source is read and parsed, never imported.

What counts as complexity (McCabe): a function starts at 1, and each of these adds 1:

    if, elif, x if c else y         for, async for, while       except
    every further operand of and, or                            for and if inside a comprehension
    case, unless it accepts anything (a bare name or _ without a guard)

A nested function is a function of its own; a lambda belongs to the one around it. The complexity of
a module is the sum over its functions, plus the decisions outside any function.

What counts as an import: `import a.b` leads to `a.b`, or to the longest part of it that is a module
(`os.path` leads to `os`); `from a import b` leads to `a.b` where that is a module, else to `a`. The
packages around a module are not counted. An import is *deferred* when it does not happen as the
module loads: inside a function, or under `if TYPE_CHECKING` or `if __name__ == "__main__"`.
"""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Json: TypeAlias = dict[str, Any]

MAX_MODULES = 10_000
"""Modules in one analysis: as many as a step may have work items."""
MAX_SOURCE_BYTES = 8 * 1024 * 1024
"""Size of one source file; a larger one is listed with a problem instead of figures."""
MAX_IMPORTS = 100
"""Names kept of each kind of import of a module, so that one measure stays small."""
MAX_NAME = 120
"""Characters kept of a function's dotted name."""
MAX_LISTED = 12
"""Rows of each list in a summary."""

SKIPPED_FOLDERS = frozenset(
    {
        "__pycache__",
        "_bundled",  # wheels that ensurepip carries
        "dist-packages",
        "idlelib",
        "lib-dynload",
        "lib2to3",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)


def standard_library() -> str:
    """Returns the folder of the running interpreter's standard library."""
    return sysconfig.get_path("stdlib")


# -------------------------------------------------------------------- modules


def list_modules(root: str) -> list[Json]:
    """Lists the modules below a folder as `{"module", "path"}` (absolute), sorted by name.

    Where the folder is a package itself, its name comes first in theirs. Raises ValueError when there
    are no modules, or more than `MAX_MODULES`.
    """
    root = os.path.abspath(root)
    base = os.path.dirname(root) if os.path.isfile(os.path.join(root, "__init__.py")) else root
    modules: list[Json] = []
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name.isidentifier() and name not in SKIPPED_FOLDERS)
        for path in (os.path.join(folder, file) for file in files):
            name = _module_name(os.path.relpath(path, base))
            if name:
                modules.append({"module": name, "path": path})
        if len(modules) > MAX_MODULES:
            raise ValueError(f"{root} holds more than {MAX_MODULES} modules; choose a smaller folder")
    if not modules:
        raise ValueError(f"{root} holds no Python modules")
    return sorted(modules, key=lambda module: module["module"])


def _module_name(path: str) -> str:
    """Returns the dotted name of a relative path; empty when no import statement could reach it."""
    stem, extension = os.path.splitext(path)
    parts = stem.split(os.sep)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts) if extension == ".py" and all(part.isidentifier() for part in parts) else ""


# -------------------------------------------------------------------- measure


def measure(module: Mapping[str, Any]) -> Json:
    """Measures one module: lines, functions, classes, complexity, imports.

    A source that does not parse gives zeros and says why in `problem`, so that one odd file never
    costs the whole analysis. Raises OSError when the file cannot be read.
    """
    name, path = module["module"], module["path"]
    figures: Json = {
        "module": name,
        "lines": 0,
        "functions": 0,
        "classes": 0,
        "complexity": 0,
        "worst": None,
        "imports": [],
        "deferred": [],
        "outside": [],
        "problem": None,
    }
    with open(path, "rb") as file:
        source = file.read(MAX_SOURCE_BYTES + 1)
    figures["lines"] = len(source.splitlines())
    try:
        tree = _parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return figures | {"problem": f"{type(error).__name__}: {error}"[:200]}
    survey = _survey(tree)
    return figures | _sizes(survey) | _imports(survey, name=name, path=path)


def _sizes(survey: _Survey) -> Json:
    functions = [unit for unit in survey.units if unit.name]
    worst = max(functions, key=lambda unit: (unit.complexity, -unit.line), default=None)
    return {
        "functions": len(functions),
        "classes": survey.classes,
        "complexity": sum(unit.complexity for unit in survey.units),
        "worst": worst
        and {"function": worst.name[:MAX_NAME], "line": worst.line, "complexity": worst.complexity},
    }


def _parse(source: bytes) -> ast.Module:
    if len(source) > MAX_SOURCE_BYTES:
        raise ValueError(f"larger than {MAX_SOURCE_BYTES} bytes")
    return ast.parse(source)


@dataclass(slots=True)
class _Unit:
    """A function, or what is outside of any (name is empty): where decisions are counted."""

    name: str
    line: int
    complexity: int


class _Place(NamedTuple):
    """Where in a module a node stands."""

    unit: _Unit
    prefix: str
    """Dotted names of the classes and functions around it, each with its dot."""
    deferred: bool
    """Whether it is passed by while the module loads."""


@dataclass(slots=True)
class _Survey:
    """What one walk over a syntax tree finds."""

    units: list[_Unit]
    classes: int
    imports: list[tuple[ast.Import | ast.ImportFrom, bool]]
    """Import statements, and whether each is deferred."""


def _survey(tree: ast.Module) -> _Survey:
    outside = _Unit(name="", line=1, complexity=0)
    survey = _Survey(units=[outside], classes=0, imports=[])
    # A stack, not recursion: a long chain of elif or + is nested deeper than the interpreter goes.
    stack: list[tuple[ast.AST, _Place]] = [(tree, _Place(outside, "", False))]
    while stack:
        node, place = stack.pop()
        place.unit.complexity += _decisions(node)
        inner = _enter(node, place, survey=survey)
        for name, value in ast.iter_fields(node):
            children = value if isinstance(value, list) else (value,)
            where = inner if name == "body" else place
            stack.extend((child, where) for child in children if isinstance(child, ast.AST))
    return survey


def _enter(node: ast.AST, place: _Place, *, survey: _Survey) -> _Place:
    """Notes what a node is, and returns where its body stands."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            unit = _Unit(name=place.prefix + node.name, line=node.lineno, complexity=1)
            survey.units.append(unit)
            return _Place(unit, f"{unit.name}.", True)
        case ast.ClassDef():
            survey.classes += 1
            return place._replace(prefix=f"{place.prefix}{node.name}.")
        case ast.If() if _never_holds_on_load(node.test):
            return place._replace(deferred=True)
        case ast.Import() | ast.ImportFrom():
            survey.imports.append((node, place.deferred))
    return place


def _decisions(node: ast.AST) -> int:
    """Returns what a node adds to complexity; the table is in the module's docstring."""
    match node:
        case ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While() | ast.ExceptHandler():
            return 1
        case ast.BoolOp():
            return len(node.values) - 1
        case ast.comprehension():
            return 1 + len(node.ifs)
        case ast.match_case(pattern=ast.MatchAs(pattern=None), guard=None):
            return 0
        case ast.match_case():
            return 1
    return 0


def _never_holds_on_load(test: ast.expr) -> bool:
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]
        ):
            return True
    return False


# -------------------------------------------------------------------- imports


def _imports(survey: _Survey, *, name: str, path: str) -> Json:
    """Sorts what a module imports into `imports`, `deferred` and `outside`, each by name, once."""
    package = name if os.path.basename(path) == "__init__.py" else name.rpartition(".")[0]
    root = _root_of(name, path=path)
    on_load: set[str] = set()
    deferred: set[str] = set()
    outside: set[str] = set()
    for statement, later in survey.imports:
        for target in _targets(statement, package=package):
            module = _longest_module(root, target)
            if not module:
                outside.add(target.partition(".")[0])
            elif module != name:
                (deferred if later else on_load).add(module)
    kinds = {"imports": on_load, "deferred": deferred - on_load, "outside": outside}
    return {kind: sorted(names)[:MAX_IMPORTS] for kind, names in kinds.items()}


def _root_of(name: str, *, path: str) -> str:
    steps_up = name.count(".") + (2 if os.path.basename(path) == "__init__.py" else 1)
    for _ in range(steps_up):
        path = os.path.dirname(path)
    return path


def _targets(statement: ast.Import | ast.ImportFrom, *, package: str) -> Iterator[str]:
    """Gives the absolute dotted names that an import statement may lead to."""
    if isinstance(statement, ast.Import):
        yield from (alias.name for alias in statement.names)
        return
    base = statement.module or ""
    if statement.level:
        parents = package.split(".")
        above = ".".join(parents[: len(parents) - statement.level + 1])
        base = f"{above}.{base}".strip(".")
    for alias in statement.names:
        yield base if alias.name == "*" else f"{base}.{alias.name}"


def _longest_module(root: str, dotted: str) -> str:
    """Returns the longest part of a dotted name that is a module below the root, or nothing."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        stem = os.path.join(root, *parts[:length])
        if os.path.isfile(f"{stem}.py") or os.path.isfile(os.path.join(stem, "__init__.py")):
            return ".".join(parts[:length])
    return ""


# -------------------------------------------------------------------- summary


def summarise(measures: Iterable[Mapping[str, Any]]) -> Json:
    """Adds measures up: totals, the largest packages, the most complex functions, the problems.

    A package here is the first part of a module's name. Of each module only its most complex
    function is listed. Every list has at most `MAX_LISTED` rows.
    """
    ordered = sorted(measures, key=lambda measure: measure["module"])
    totals = {key: sum(measure[key] for measure in ordered) for key in _TOTALS}
    problems = [measure for measure in ordered if measure["problem"]]
    return {
        "modules": len(ordered),
        **totals,
        "imports": sum(len(measure["imports"]) for measure in ordered),
        "deferred": sum(len(measure["deferred"]) for measure in ordered),
        "packages": _largest_packages(ordered),
        "worst": _most_complex_functions(ordered),
        "problems": [_pick(measure, "module", "problem") for measure in problems[:MAX_LISTED]],
        "problem_count": len(problems),
    }


_TOTALS = ("lines", "functions", "classes", "complexity")


def _largest_packages(measures: Iterable[Mapping[str, Any]]) -> list[Json]:
    packages: dict[str, Json] = {}
    for measure in measures:
        name = measure["module"].partition(".")[0]
        package = packages.setdefault(name, {"package": name, "modules": 0, **dict.fromkeys(_TOTALS, 0)})
        package["modules"] += 1
        for key in _TOTALS:
            package[key] += measure[key]
    return sorted(packages.values(), key=lambda row: (-row["lines"], row["package"]))[:MAX_LISTED]


def _most_complex_functions(measures: Iterable[Mapping[str, Any]]) -> list[Json]:
    rows = [_pick(measure, "module") | measure["worst"] for measure in measures if measure["worst"]]
    return sorted(rows, key=lambda row: (-row["complexity"], row["module"]))[:MAX_LISTED]


def _pick(measure: Mapping[str, Any], *keys: str) -> Json:
    return {key: measure[key] for key in keys}
