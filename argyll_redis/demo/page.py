"""The report as one HTML page that needs nothing else: its style and its picture are inside it.

There is no script and nothing is fetched, so the page can be mailed, kept, or opened from a folder.
All text that comes from outside goes through `escape`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, TypeAlias

from argyll_redis.demo import picture, report
from argyll_redis.demo.report import Findings

Row: TypeAlias = Mapping[str, Any]

MAX_MEMBERS_IN_CARD = 6
"""Modules of a cycle that are shown at once; more can be opened."""


def html(findings: Findings) -> str:
    """Writes the report as a page."""
    style = files("argyll_redis.demo").joinpath("report.css").read_text(encoding="utf-8")
    title = escape(findings.title)
    body = "\n".join(
        (
            _header(findings),
            "<main>",
            _map(findings),
            _ranking(findings.ranking[: report.MAX_RANKS_SHOWN]),
            _circles(findings),
            _functions_and_packages(findings.summary),
            _problems(findings.summary),
            _method(),
            "</main>",
            f"<footer>{escape(report.about_licence(findings.licence))}</footer>",
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _text(sentence: str) -> str:
    """Escapes a sentence; what stands in backticks becomes code."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(sentence))


def _header(findings: Findings) -> str:
    figures = "".join(
        f"<div><dt>{label}</dt><dd>{value:,}</dd></div>" for label, value in report.totals(findings)
    )
    said = "".join(f"<li>{_text(sentence)}</li>" for sentence in report.sentences(findings))
    return (
        f"<header>\n<h1>{escape(findings.title)}</h1>\n"
        '<p class="lead">Read from source alone; nothing was imported or run.</p>\n'
        f'<dl class="totals">{figures}</dl>\n<ul class="findings">{said}</ul>\n</header>'
    )


def _map(findings: Findings) -> str:
    drawn, svg = picture.core(findings.graph, findings.ranking, findings.cycles)
    steps = ", ".join(str(step) for step in picture.COMPLEXITY_STEPS)
    shades = "".join(f'<i class="s{shade}"></i>' for shade in range(len(picture.COMPLEXITY_STEPS) + 1))
    return (
        "<h2>The core</h2>\n"
        f"<p>{report.many(drawn, 'module')}, those that carry the most and those in circles, each above "
        "what it imports. An import that follows from others is not drawn. Point at a module to follow "
        "its lines.</p>\n"
        f'<figure>\n<div class="frame">\n{svg}\n</div>\n'
        '<figcaption class="legend">'
        "<span><b>123</b> modules that cannot load without it</span>"
        f'<span><span class="steps">{shades}</span> complexity, in steps at {steps}</span>'
        '<span><i class="circle"></i> import each other</span>'
        '<span><i class="wire"></i> imports</span>'
        '<span><i class="wire through"></i> imports through modules not drawn</span>'
        "</figcaption>\n</figure>"
    )


# --------------------------------------------------------------------- tables


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Puts cells, each with its tag, into a table."""
    lines = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scroll"><table>\n<thead><tr>{"".join(head)}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )


def _head(text: str = "", *, kind: str = "") -> str:
    return f'<th scope="col" class="{kind}">{text}</th>' if kind else f'<th scope="col">{text}</th>'


def _name(text: str) -> str:
    return f"<td>{_code(text)}</td>"


def _code(name: str) -> str:
    """Marks a name as code that may be broken after its dots and underscores."""
    breakable = re.sub(r"(?<=[^\W_])([._])(?=[^._])", r"\1<wbr>", escape(name))
    return f"<code>{breakable}</code>"


def _number(value: float) -> str:
    return f'<td class="n">{value:,}</td>'


def _gauge(value: float, largest: float) -> str:
    share = 100 * value / largest if largest else 0
    return f'<td class="gauge"><i style="width:{share:.1f}%"></i></td>'


def _ranking(rows: Sequence[Row]) -> str:
    keys = ("dependents", "imported_by", "imports", "complexity", "lines")
    titles = ("dependents", "imported by", "imports", "complexity", "lines")
    head = [
        _head(kind="rank"),
        _head("module"),
        _head("weight", kind="n"),
        _head(kind="gauge"),
        *(_head(title, kind="n") for title in titles),
    ]
    largest = max((row["weight"] for row in rows), default=0)
    cells = [
        (
            f'<td class="rank">{row["rank"]}</td>',
            _name(row["module"]),
            _number(row["weight"]),
            _gauge(row["weight"], largest),
            *(_number(row[key]) for key in keys),
        )
        for row in rows
    ]
    return (
        "<h2>What carries the most</h2>\n<p>Weight is what cannot load without a module, times the "
        f"logarithm of its complexity.</p>\n{_table(head, cells)}"
    )


def _functions_and_packages(summary: Row) -> str:
    functions = _table(
        [_head("function"), _head("module"), _head("complexity", kind="n")],
        [
            (_name(row["function"]), _name(row["module"]), _number(row["complexity"]))
            for row in summary["worst"]
        ],
    )
    largest = max((row["lines"] for row in summary["packages"]), default=0)
    packages = _table(
        [_head("package"), _head("modules", kind="n"), _head("lines", kind="n"), _head(kind="gauge")],
        [
            (
                _name(row["package"]),
                _number(row["modules"]),
                _number(row["lines"]),
                _gauge(row["lines"], largest),
            )
            for row in summary["packages"]
        ],
    )
    return (
        f'<div class="pair">\n<section><h2>The most complex functions</h2>\n{functions}</section>\n'
        f"<section><h2>The largest packages</h2>\n{packages}</section>\n</div>"
    )


# -------------------------------------------------------------------- circles


def _circles(findings: Findings) -> str:
    parts = ["<h2>Circles</h2>"]
    if findings.on_load:
        parts += ["<p>These import each other as they load.</p>", _cards(findings.on_load, findings.graph)]
    else:
        parts.append("<p>No modules import each other as they load.</p>")
    if findings.put_off:
        parts += [
            "<h3>Kept apart by deferred imports</h3>",
            "<p>These would import each other too if the deferred imports (⇢) were made on load.</p>",
            _cards(findings.put_off, findings.graph, kind=" put-off"),
        ]
    return "\n".join(parts)


def _cards(cycles: Sequence[Row], graph: Row, *, kind: str = "") -> str:
    shown = cycles[: report.MAX_CYCLES_SHOWN]
    cards = "\n".join(_card(cycle, graph) for cycle in shown)
    left_out = len(cycles) - len(shown)
    more = f"\n<li>and {left_out:,} more</li>" if left_out else ""
    return f'<ul class="cards{kind}">\n{cards}{more}\n</ul>'


def _card(cycle: Row, graph: Row) -> str:
    names = cycle["modules"]
    imports = f"{cycle['imports']:,} imports between them"
    way = escape(report.trip(cycle, graph)).replace("⇢", '<b class="later">⇢</b>')
    round_trip = f"<small>shortest way round: <code>{way}</code></small>"
    if len(names) == 2:
        return f"<li><code>{way}</code><small>2 modules, {imports}</small></li>"
    if len(names) <= MAX_MEMBERS_IN_CARD:
        members = ", ".join(_code(name) for name in names)
        return f"<li>{members}<small>{len(names)} modules, {imports}</small>{round_trip}</li>"
    listed = "".join(_code(name) for name in names[: report.MAX_MEMBERS_SHOWN])
    left_out = len(names) - report.MAX_MEMBERS_SHOWN
    more = f" and {left_out:,} more" if left_out > 0 else ""
    return (
        f'<li class="wide"><b>{len(names):,} modules in one knot</b><small>{imports}</small>{round_trip}'
        f"<details><summary>All of them</summary><p>{listed}{more}</p></details></li>"
    )


# ---------------------------------------------------------------------- notes


def _problems(summary: Row) -> str:
    if not summary["problem_count"]:
        return ""
    lines = "".join(
        f"<li><code>{escape(row['module'])}</code>: {escape(row['problem'])}</li>"
        for row in summary["problems"]
    )
    files_said = report.many(summary["problem_count"], "file")
    return f'<h2>{files_said} could not be parsed</h2>\n<ul class="method">{lines}</ul>'


def _method() -> str:
    lines = "".join(f"<li>{_text(sentence)}</li>" for sentence in report.method())
    return f'<h2>How it was counted</h2>\n<ul class="method">{lines}</ul>'
