"""The documentation: the reference is what the code says, and its examples run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

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
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stderr) == (0, ""), where
    assert done.stdout


def test_the_words_of_the_docs_name_no_machine() -> None:
    """No absolute path of a machine stands in a page."""
    assert [page.name for page in PAGES if re.search(r"/(root|home|work|tmp)/", page.read_text())] == []
