"""The same analysis in one process and one loop, to check what a flow came to.

Nothing here knows of steps or flows. Where the two differ, work was lost, done twice or mixed up on
its way through the engine: that is what the demo looks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from argyll_redis.demo import analysis, graph, page, report
from argyll_redis.demo.licence import find_licence
from argyll_redis.demo.report import Findings


def analyse(root: str) -> Findings:
    """Computes all findings about a folder, one module after the other."""
    measures = [analysis.measure(module) for module in analysis.list_modules(root)]
    imports = graph.import_graph(measures)
    return Findings(
        root=root,
        summary=analysis.summarise(measures),
        graph=imports,
        cycles=graph.all_cycles(imports),
        ranking=graph.rank(imports, measures),
        licence=find_licence(root),
    )


def check(result: Mapping[str, Any]) -> list[str]:
    """Compares a flow's result with `analyse`, and says every difference; none is good news.

    The result holds `report`, as the step write_report gives it. Its files have to be there, with the
    bytes that the figures of one process give.
    """
    written = result["report"]
    findings = analyse(written["root"])
    files = {"markdown": report.markdown(findings), "html": page.html(findings)}
    return [
        *_unequal(written["figures"], report.figures(findings)),
        *(problem for kind, text in files.items() for problem in _unlike(written[kind], text)),
    ]


def _unequal(found: Mapping[str, Any], expected: Mapping[str, Any]) -> Iterator[str]:
    for name in sorted({*found, *expected} - {"digests"}):
        if found.get(name) != expected.get(name):
            yield f"{name}: the flow came to {found.get(name)}, one process to {expected.get(name)}"
    for name, digest in sorted(expected["digests"].items()):
        if found["digests"].get(name) != digest:
            yield f"{name}: not what one process came to"


def _unlike(path: str, text: str) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError as error:
        yield f"{path}: {error.strerror or error}"
        return
    if content != text.encode():
        yield f"{path}: not the report that one process writes"
