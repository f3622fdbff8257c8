"""The report says what was found, its page needs nothing else, and its picture can be read."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html import unescape
from html.parser import HTMLParser
from itertools import combinations, pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from argyll_redis.demo import layout, page, picture, plain, report
from argyll_redis.demo.layout import Box, Drawing
from argyll_redis.demo.report import Findings

VOID = {"meta", "link", "br", "wbr", "hr", "img", "input"}


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    """A shop of five modules: two import each other on load, two more by a deferred import."""
    root = tmp_path / "shop & co"
    sources = {
        "base": "def parse(x):\n    return x if x else None\n",
        "cart": "import base, order\n",
        "order": "import cart\n",
        "mail": "import base\ndef send():\n    import smtp\n",
        "smtp": "import mail\n",
        "broken": "def <script>alert(1)</script>\n",
    }
    root.mkdir()
    for name, source in sources.items():
        (root / f"{name}.py").write_text(source)
    (root / "LICENSE").write_text("\nMIT License <b>\n\nDo as you like.\n")
    return plain.analyse(str(root))


# -------------------------------------------------------------------- markdown


def test_markdown_says_the_findings_in_order(findings: Findings) -> None:
    assert report.sentences(findings) == [
        "Most rests on `base`: 4 of the other 5 modules cannot load without it.",
        "2 modules import each other in a circle as they load.",
        "1 import is deferred past loading. Otherwise 2 modules would hang together in one knot.",
        "The most complex function is `parse` in `base`, at 2.",
    ]
    text = report.markdown(findings)
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    assert headings == [
        "What shop & co rests on",
        "What carries the most",
        "Circles",
        "The most complex functions",
        "The largest packages",
        "1 file could not be parsed",
        "How it was counted",
    ]
    for sentence in report.sentences(findings):
        assert f"- {sentence}\n" in text


def test_markdown_tables_have_as_many_cells_in_every_row(findings: Findings) -> None:
    for table in re.findall(r"(?:^\|.*\|\n)+", report.markdown(findings), flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


def test_deferred_imports_are_drawn_with_an_arrow_of_their_own(findings: Findings) -> None:
    assert [report.trip(cycle, findings.graph) for cycle in findings.cycles] == [
        "cart → order → cart",
        "mail ⇢ smtp → mail",
    ]


def test_a_folder_without_imports_or_functions_has_a_report_too(tmp_path: Path) -> None:
    (tmp_path / "only.py").write_text("x = 1\n")
    lonely = plain.analyse(str(tmp_path))
    assert report.sentences(lonely) == [
        "No module imports another one as it loads.",
        "No modules import each other in circles as they load.",
    ]
    assert "None as modules load." in report.markdown(lonely)
    assert "No licence file was found" in report.markdown(lonely)
    assert 'aria-label="1 module,' in page.html(lonely)


def test_the_licence_beside_the_source_is_named(findings: Findings) -> None:
    assert findings.licence == {"file": "LICENSE", "title": "MIT License <b>", "lines": 4}


def test_the_report_is_the_same_bytes_every_time(findings: Findings) -> None:
    again = plain.analyse(findings.root)
    assert page.html(again) == page.html(findings)
    assert report.markdown(again) == report.markdown(findings)
    assert report.figures(again) == report.figures(findings)


# ------------------------------------------------------------------------ html


class Reader(HTMLParser):
    """Checks that tags close in order, and collects what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.references: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")
        ]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_is_well_formed_and_needs_nothing_else(findings: Findings) -> None:
    text = page.html(findings)
    reader = read(text)
    assert reader.tags.isdisjoint({"script", "link", "img", "iframe", "object", "base"})
    assert reader.references == []
    assert not re.search(r"https?://|url\(|@import", text)


def test_the_page_works_in_light_and_dark(findings: Findings) -> None:
    text = page.html(findings)
    light, _, dark = text.partition("@media (prefers-color-scheme: dark)")
    colours = re.compile(r"--([\w-]+): #")
    assert "color-scheme: light dark" in light
    dark_rules = dark.partition("* { box-sizing")[0]
    assert set(colours.findall(light)) == set(colours.findall(dark_rules))


def test_every_colour_the_page_uses_is_defined(findings: Findings) -> None:
    text = page.html(findings)
    assert set(re.findall(r"var\(--([\w-]+)\)", text)) <= set(re.findall(r"--([\w-]+):", text))


def test_text_from_files_is_escaped(findings: Findings) -> None:
    text = page.html(findings)
    assert findings.summary["problem_count"] == 1
    assert "<title>What shop &amp; co rests on</title>" in text
    assert "MIT License &lt;b&gt;" in text
    assert "MIT License <b>" not in text


def test_the_page_says_every_finding(findings: Findings) -> None:
    listed = page.html(findings).partition('<ul class="findings">')[2].partition("</ul>")[0]
    said = [unescape(re.sub(r"<.*?>", "", item)) for item in listed.split("</li>") if item]
    assert said == [sentence.replace("`", "") for sentence in report.sentences(findings)]


# --------------------------------------------------------------------- picture


def overlap(a: Box, b: Box) -> bool:
    return a.x < b.x + b.width and b.x < a.x + a.width and a.y < b.y + b.height and b.y < a.y + a.height


def assert_readable(drawing: Drawing) -> None:
    """Nothing is drawn over anything else or over the edge, and lines lead down."""
    boxes = [block.box for block in drawing.blocks]
    assert not [pair for pair in combinations(boxes, 2) if overlap(*pair)]
    for box in boxes:
        assert box.x >= 0
        assert box.y >= 0
        assert box.x + box.width <= drawing.width
        assert box.y + box.height <= drawing.height
    for line in drawing.lines:
        heights = [y for _, y in line.points]
        assert heights == sorted(heights)
        assert heights[0] == boxes[line.source].y + boxes[line.source].height
        assert heights[-1] == boxes[line.target].y
        for (x, top), (end, bottom) in pairwise(line.points):
            # A line goes straight down past a row, and bends only between rows.
            swept = Box(x, top, 0.0, bottom - top) if x == end else Box(0.0, top, drawing.width, bottom - top)
            assert not any(overlap(swept, box) for box in boxes)


def test_a_module_stands_above_what_it_imports_and_a_cycle_is_one_block() -> None:
    edges = {"top": ["a"], "a": ["b", "base"], "b": ["a"], "base": []}
    drawing = layout.draw(edges, widths=dict.fromkeys(edges, 50.0))
    assert [[name for name, _ in block.chips] for block in drawing.blocks] == [["a", "b"], ["base"], ["top"]]
    assert [(line.source, line.target, line.is_direct) for line in drawing.lines] == [
        (0, 1, True),
        (2, 0, True),
    ]
    assert_readable(drawing)


def test_imports_that_follow_are_not_drawn_and_those_through_others_are_marked() -> None:
    edges = {"a": ["b", "c"], "b": ["c"], "c": ["hidden"], "hidden": ["d"], "d": []}
    drawing = layout.draw(edges, widths=dict.fromkeys("abcd", 50.0))
    assert [(line.source, line.target, line.is_direct) for line in drawing.lines] == [
        (0, 1, True),
        (1, 2, True),
        (2, 3, False),
    ]


@given(
    st.dictionaries(st.integers(0, 24), st.sets(st.integers(0, 24), max_size=4), min_size=1, max_size=25),
    st.integers(20, 400),
)
@settings(deadline=None, max_examples=60)
def test_any_graph_is_drawn_without_overlaps(numbers: dict[int, set[int]], width: int) -> None:
    edges = {
        f"m{name:02}": sorted(f"m{target:02}" for target in targets if target in numbers and target != name)
        for name, targets in numbers.items()
    }
    assert_readable(layout.draw(edges, widths={name: float(width) for name in edges}))


def test_the_svg_shows_the_ranked_and_those_in_cycles_with_their_names(findings: Findings) -> None:
    drawn, svg = picture.core(findings.graph, findings.ranking, findings.cycles)
    root = ElementTree.fromstring(svg)
    names = [text.text for text in root.iter("text") if text.get("class") is None]
    assert (drawn, sorted(str(name) for name in names)) == (
        6,
        ["base", "broken", "cart", "mail", "order", "smtp"],
    )
    assert len([box for box in root.iter("rect") if box.get("class") == "ring"]) == 1


def test_names_fit_into_their_chips(findings: Findings) -> None:
    _, svg = picture.core(findings.graph, findings.ranking, findings.cycles)
    for chip in ElementTree.fromstring(svg).iter("g"):
        plate, texts = chip.find("rect"), chip.findall("text")
        if plate is None or len(texts) != 2:
            continue
        name, count = texts
        end_of_name = float(name.attrib["x"]) + len(name.text or "") * picture.NAME_ADVANCE
        begin_of_count = float(count.attrib["x"]) - len(count.text or "") * picture.COUNT_ADVANCE
        assert end_of_name < begin_of_count
        assert float(count.attrib["x"]) < float(plate.attrib["x"]) + float(plate.attrib["width"])
