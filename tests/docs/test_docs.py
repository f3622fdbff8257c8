"""The documentation: the reference is what the code says, and its examples run."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from argyll_redis import InvalidStep

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(generator().PAGES))
def test_a_reference_page_is_what_the_code_says(name: str) -> None:
    """After a change run `python docs/generate.py`."""
    assert (DOCS / "reference" / name).read_text() == generator().PAGES[name]()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as its readers' browsers have them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.S | re.M)
    titles = [re.sub(r"[`*]", "", title).lower() for title in re.findall(r"^#+ (.*)$", text, re.M)]
    return {re.sub(r"[^\w -]", "", title).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_headings_lead_to_one(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page.read_text())
    there = {target: headings(page.parent / target if target else page) for target, _ in links}
    assert [f"{target}#{anchor}" for target, anchor in links if anchor not in there[target]] == []


def named(pattern: str) -> dict[str, list[str]]:
    """What pages call their own, with the pages in which it stands: the reader has one folder, one server."""
    pages: dict[str, list[str]] = {}
    for page in PAGES:
        for name in sorted(set(re.findall(pattern, page.read_text(), re.M))):
            pages.setdefault(name, []).append(str(page.relative_to(ROOT)))
    return pages


@pytest.mark.parametrize(
    "pattern", [r"^# ([\w-]+\.py)$", r'namespace="([^"]+)"'], ids=["files", "namespaces"]
)
def test_what_one_page_makes_no_other_page_overwrites(pattern: str) -> None:
    found = named(pattern)
    assert len(found) > 10
    assert {name: pages for name, pages in found.items() if len(pages) > 1} == {}


@pytest.mark.parametrize("lines", ["name: what people read", "name: a\nscript: b\nlanguage: c"])
def test_a_field_of_a_step_without_words_or_words_without_a_field_make_no_page(lines: str) -> None:
    step_page = runpy.run_path(str(DOCS / "step_page.py"))
    with pytest.raises(ValueError, match="mapping as the schema has it: without words"):
        step_page["_table"]("mapping", step_page["_words"](lines))


def test_an_example_that_is_no_step_is_not_shown() -> None:
    step_page = runpy.run_path(str(DOCS / "step_page.py"))
    with pytest.raises(InvalidStep, match="paralelism"):
        step_page["_example"]("work_config", '{"paralelism": 2}\n')


def python_blocks() -> list[tuple[str, str]]:
    """Each Python block of the pages, with where it stands."""
    return [
        (f"{page.relative_to(ROOT)}:{number}", code)
        for page in PAGES
        for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.S | re.M))
    ]


@pytest.mark.parametrize(("where", "code"), python_blocks(), ids=[where for where, _ in python_blocks()])
def test_a_python_block_runs_by_itself(where: str, code: str, tmp_path: Path) -> None:
    """Copied into a file of its own, it runs and fails in nothing."""
    script = tmp_path / "block.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script],
        cwd=tmp_path,  # where a block leaves its files
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert (done.returncode, done.stderr) == (0, ""), where
    assert done.stdout


def test_the_words_of_the_docs_name_no_machine() -> None:
    """No absolute path of a machine stands in a page."""
    assert [page.name for page in PAGES if re.search(r"/(root|home|work|tmp)/", page.read_text())] == []
