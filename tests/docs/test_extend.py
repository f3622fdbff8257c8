"""The page on extending, followed: its change applied to a copy of the tree, its commands run on that."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from doc_words import DOCS, ROOT, Page, fences, inline_commands, name_of

from argyll_redis.runtime.embedded import EmbeddedServer

PAGE = DOCS / "guide" / "extend.md"
LAYOUT = DOCS / "layout.md"


def changes(text: str) -> dict[str, list[tuple[str, str]]]:
    """The pieces of a change by file: what is there before, and after."""
    found: dict[str, list[tuple[str, str]]] = {}
    for part in re.split(r"^--- .*\n", text, flags=re.M)[1:]:
        head, *pieces = re.split(r"^@@\n", part, flags=re.M)
        file = head.strip().removeprefix("+++ b/")
        found[file] = [(_side(piece, "-"), _side(piece, "+")) for piece in pieces]
    return found


def _side(piece: str, sign: str) -> str:
    return "".join(line[1:] + "\n" for line in piece.splitlines() if line[:1] in (sign, " "))


def apply(text: str, tree: Path) -> None:
    """Applies a change; every piece must fit at just one place."""
    for file, pieces in changes(text).items():
        path = tree / file
        path.parent.mkdir(parents=True, exist_ok=True)
        content = path.read_text() if path.exists() else ""
        for before, after in pieces:
            if before:
                assert content.count(before) == 1, (
                    f"{file}: {before!r} is there {content.count(before)} times"
                )
            content = content.replace(before, after) if before else after
        path.write_text(content)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the tree with the page's change; what was compiled comes with it, which saves seconds."""
    copy = tmp_path / "tree"
    for part in ("argyll_redis", "lua"):
        shutil.copytree(ROOT / part, copy / part)
    [change] = [fence.text for fence in fences(PAGE) if fence.language == "diff"]
    apply(change, copy)
    return copy


@pytest.mark.real
@pytest.mark.timeout(120)  # some processes, one after the other
def test_a_step_type_that_is_added_as_the_page_says_runs(tree: Path, tmp_path: Path) -> None:
    with EmbeddedServer() as server:
        reader = Page(tmp_path, server.url, tree=tree)
        try:
            reader.follow(PAGE)
        finally:
            reader.close()


def test_a_change_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\n")
    with pytest.raises(AssertionError, match="is there 0 times"):
        apply("--- a/a.py\n+++ b/a.py\n@@\n two\n+three\n", tmp_path)


def test_a_change_is_applied_where_it_fits(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    apply("--- a/a.py\n+++ b/a.py\n@@\n-one\n+1\n two\n--- /dev/null\n+++ b/b.py\n@@\n+new\n", tmp_path)
    assert [(tmp_path / name).read_text() for name in ("a.py", "b.py")] == ["1\ntwo\n", "new\n"]


@pytest.mark.parametrize("page", [PAGE, LAYOUT], ids=name_of)
def test_a_file_that_a_page_on_the_code_names_is_there(page: Path) -> None:
    named = [each for each in inline_commands(page, "") if re.fullmatch(r"[\w/.]+(\.(py|lua|md)|/)", each)]
    named = [each for each in named if not each.startswith("docs/generate")]
    assert len(named) > 10
    places = (ROOT, ROOT / "argyll_redis")
    assert [each for each in named if not any((place / each).exists() for place in places)] == []


def test_the_layout_names_every_room() -> None:
    [drawing] = [fence.text for fence in fences(LAYOUT) if fence.language == "text"]
    rooms = sorted(each.parent.name for each in (ROOT / "argyll_redis").glob("*/__init__.py"))
    assert [room for room in rooms if f"\n  {room}/ " not in drawing] == []
