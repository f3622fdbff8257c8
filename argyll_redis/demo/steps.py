"""The steps of the demo: what each needs is its parameters, what it provides is said below.

    step                   provides     declared with
    list_modules           modules      permanent=(ValueError,): a folder without modules has none next time
    measure                measures     for_each="modules", parallelism=PARALLELISM
    summarise_measures     summary
    build_graph            graph
    find_cycles            cycles
    rank_modules           ranking
    read_licence           licence      retried: its first attempt is staged to fail
    write_report           report       the goal
    profile_heavy_modules  profile      predicate=DEEP; a goal of its own, skipped unless `deep` is true
    publish_report         published    not needed by the goals, so not in the plan
    compare_releases       comparison   not needed by the goals, so not in the plan

All of it may run more than once for one work item: a step gives the same value again, and files are
put in place in one move.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from types import CodeType
from typing import Any, Protocol, TypeAlias

from argyll_redis.demo import analysis, page
from argyll_redis.demo import graph as import_graphs
from argyll_redis.demo import report as reports
from argyll_redis.demo.licence import find_licence
from argyll_redis.errors import NotCompleted

Json: TypeAlias = dict[str, Any]

PARALLELISM = 32
"""Modules measured at once in one flow."""
DEEP = "return deep == true"
"""The predicate of `profile_heavy_modules`, in Lua."""
LOCKED_FOR_MS = 400
"""How long the staged lock of `read_licence` asks its caller to wait."""
MAX_PROFILED = 20
"""Modules that `profile_heavy_modules` compiles."""
MAX_CHANGES = 20
"""Rows that `compare_releases` lists of changed modules."""


class Call(Protocol):
    """What a step may ask about the call it is in."""

    @property
    def attempt(self) -> int: ...


# ------------------------------------------------------------------- analysis


def list_modules(root: str) -> list[Json]:
    """Lists the modules below a folder as `{"module", "path"}`."""
    return analysis.list_modules(root)


def measure(modules: Json) -> Json:
    """Measures one module of the list."""
    return analysis.measure(modules)


def summarise_measures(measures: list[Json]) -> Json:
    """Adds the measures up."""
    return analysis.summarise(_each(measures))


def build_graph(measures: list[Json]) -> Json:
    """Builds the graph of imports."""
    return import_graphs.import_graph(_each(measures))


def find_cycles(graph: Json) -> list[Json]:
    """Finds the modules that import each other in circles."""
    return import_graphs.all_cycles(graph)


def rank_modules(graph: Json, measures: list[Json]) -> list[Json]:
    """Ranks the modules by how much rests on them."""
    return import_graphs.rank(graph, _each(measures))


def _each(measures: Sequence[Json]) -> list[Json]:
    """Takes the measures out of the list that a step with `for_each` provides."""
    return [item["measures"] for item in measures]


# --------------------------------------------------------------------- report


def read_licence(root: str, ctx: Call) -> Json:
    """Reads the licence that goes with the source.

    The first attempt is staged: it always says that the file is locked, so that the demo shows a
    retry on every machine. The second reads the file.
    """
    if ctx.attempt == 1:
        raise NotCompleted("the licence file is locked (staged for the demo)", after_ms=LOCKED_FOR_MS)
    return find_licence(root)


def write_report(
    root: str,
    report_dir: str,
    summary: Json,
    graph: Json,
    cycles: list[Json],
    ranking: list[Json],
    licence: Json,
) -> Json:
    """Writes the report into a folder, and returns `{"root", "markdown", "html", "figures"}`.

    `markdown` and `html` are absolute paths; `figures` are what a self-check compares.
    """
    findings = reports.Findings(
        root=root, summary=summary, graph=graph, cycles=cycles, ranking=ranking, licence=licence
    )
    folder = Path(report_dir).resolve()
    return {
        "root": root,
        "markdown": _write(folder / "report.md", reports.markdown(findings)),
        "html": _write(folder / "report.html", page.html(findings)),
        "figures": reports.figures(findings),
    }


def _write(path: Path, text: str) -> str:
    """Puts a file in place in one move, so that nobody ever reads half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, draft = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        Path(draft).chmod(0o644)
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise
    return str(path)


# ---------------------------------------------------------------------- extra


def profile_heavy_modules(modules: list[Json], ranking: list[Json], deep: bool) -> list[Json]:
    """Compiles the most complex modules, without running them, and says where their bytecode is.

    Gives `{"module", "bytes", "functions", "largest", "largest_bytes"}` of each, most bytes first.
    """
    paths = {module["module"]: module["path"] for module in modules}
    heaviest = sorted(ranking, key=lambda row: (-row["complexity"], row["module"]))[:MAX_PROFILED]
    profiles = [_profile(row["module"], path=paths[row["module"]]) for row in heaviest]
    return sorted(profiles, key=lambda profile: (-profile["bytes"], profile["module"]))


def _profile(module: str, *, path: str) -> Json:
    code = compile(Path(path).read_bytes(), path, "exec", dont_inherit=True)
    sizes = [(len(part.co_code), part.co_qualname) for part in _code_objects(code)]
    largest_bytes, largest = max(sizes)
    return {
        "module": module,
        "bytes": sum(size for size, _ in sizes),
        "functions": len(sizes),
        "largest": largest,
        "largest_bytes": largest_bytes,
    }


def _code_objects(code: CodeType) -> Iterator[CodeType]:
    waiting = [code]
    while waiting:
        part = waiting.pop()
        yield part
        waiting.extend(constant for constant in part.co_consts if isinstance(constant, CodeType))


def publish_report(report: Json, publish_dir: str) -> Json:
    """Copies a report into a folder named by its content, and returns where its files are now."""
    sources = {kind: Path(report[kind]) for kind in ("markdown", "html")}
    digest = sha256(b"".join(path.read_bytes() for path in sources.values())).hexdigest()
    folder = Path(publish_dir).resolve() / digest[:16]
    folder.mkdir(parents=True, exist_ok=True)
    return {kind: str(shutil.copyfile(path, folder / path.name)) for kind, path in sources.items()}


def compare_releases(measures: list[Json], baseline: list[Json]) -> Json:
    """Compares the measures of two releases, given alike: what came, what went, what grew.

    Gives `{"added", "removed", "lines", "complexity", "changed"}`; the figures are differences, and
    `changed` lists the modules whose complexity differs most.
    """
    new = {measured["module"]: measured for measured in _each(measures)}
    old = {measured["module"]: measured for measured in _each(baseline)}
    changed = [
        {"module": name, **{key: new[name][key] - old[name][key] for key in ("lines", "complexity")}}
        for name in sorted(new.keys() & old.keys())
    ]
    changed.sort(key=lambda row: -abs(row["complexity"]))
    totals = {key: _total(new, key) - _total(old, key) for key in ("lines", "complexity")}
    return {
        "added": sorted(new.keys() - old.keys()),
        "removed": sorted(old.keys() - new.keys()),
        **totals,
        "changed": [row for row in changed[:MAX_CHANGES] if row["complexity"]],
    }


def _total(measured: dict[str, Json], key: str) -> int:
    return sum(figures[key] for figures in measured.values())
