"""Every command that the docs show is run, or stands below with the reason and what is run instead.

How a page is written so that its commands are run is said in `doc_words.py`.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from doc_words import (
    DOCS,
    PAGES,
    ROOT,
    Page,
    agrees,
    console_pages,
    fences,
    indented_commands,
    inline_commands,
    name_of,
    typed,
)

from argyll_redis.cli import argyll
from argyll_redis.runtime.embedded import EmbeddedServer

CI, BENCH, CHAOS = ".ci/run", "tests/bench/test_command_line.py", "tests/chaos/test_chaos.py"
SIMULATOR, OPERATE = "tests/simulation/test_simulator.py", "tests/docs/test_operations.py"
PEERS, COMPARE = "tests/bench/test_peers.py", "tests/bench/test_compare.py"
INSTALL = "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && "
CONTRACT, ORDER = "tests/contract/test_table.py", "tests/docs/test_order.py"
SIMULATE = ".venv/bin/python -m argyll_redis.testing.simulator"

INSTEAD: dict[str, tuple[str, str]] = {
    f"{INSTALL}.venv/bin/argyll demo": ("makes a virtual environment", CI),
    f"{INSTALL}.venv/bin/pytest -q": ("makes a virtual environment, runs all tests", CI),
    ".venv/bin/argyll demo": ("takes half a minute", CI),
    ".venv/bin/pytest -q": ("is what runs this", CI),
    ".venv/bin/python -m tests.chaos": ("thousands of flows", CHAOS),
    f"{SIMULATE} --seeds 5000": ("takes minutes; the same seeds", SIMULATOR),
    f"{SIMULATE} --planted all": ("takes minutes; each bug in a test of its own", SIMULATOR),
    f"{SIMULATE} --seed N --trace": ("N is a number of the reader's", SIMULATOR),
    ".venv/bin/pytest -q tests/contract": ("is among what runs this", CONTRACT),
    ".venv/bin/python tests/contract/taken_away.py": (
        "takes many minutes; its places are looked at",
        CONTRACT,
    ),
    ".venv/bin/python docs/examples/order/run.py": ("goes on until it is interrupted", ORDER),
    ".venv/bin/python -m bench W0 W1 W2 W3": ("takes minutes; few flows", BENCH),
    r"redis-cli --scan --pattern '{shop}:*' | xargs -d '\n' redis-cli unlink": (
        "the reader's server",
        OPERATE,
    ),
    r"redis-cli --scan --pattern '{shop:*' | xargs -d '\n' redis-cli unlink": (
        "the reader's server",
        OPERATE,
    ),
    "python -m bench W0 W1 W2 W3": ("takes minutes; few flows", BENCH),
    "python -m bench W1 --in-process --runs 5": ("takes minutes; few flows", BENCH),
    "python -m bench W1 --profile --runs 3": ("takes minutes; few flows", BENCH),
    "python -m bench W4": ("takes minutes; few flows", BENCH),
    "python -m bench W1 --aof off,everysec,always": ("takes minutes; few flows", BENCH),
    "python -m bench W1 --rtt-ms 0,2": ("takes minutes; few flows", BENCH),
    "python -m bench W5 W6 W7 W8 W9": ("takes minutes; small sizes", BENCH),
    "python -m bench W1 --peers": ("needs what is not installed", PEERS),
    "python -m bench W1 --peers bullmq,saq": ("needs what is not installed", PEERS),
    "python -m bench W0 W1 W2 W3 --peers": ("needs what is not installed", PEERS),
    "python -m bench.peers install": ("downloads what is not installed", PEERS),
    "python -m bench.peers": ("says what is installed", PEERS),
    "python -m bench --full --report DIR": ("takes minutes; few flows", BENCH),
    "python -m bench compare": ("takes minutes; two that are there", COMPARE),
    "python -m bench compare OLD.json NEW.json": ("the reader's files", COMPARE),
    "python -m bench report RUN.json DIR": ("the reader's files", COMPARE),
    "python -m bench W1 --profile": ("takes minutes; few flows", BENCH),
    "python -m bench W1 --redis redis://HOST": ("HOST is the reader's", BENCH),
    "python -m bench W1 --json": ("takes minutes; few flows", BENCH),
}
"""Commands that are not run as they stand: why, and the file that runs the like of them."""

KILLS = ("docs/guide/operate.md",)
"""Pages on which engines with short leases are killed: where a machine is too busy for those leases, a
second reader has to see what the page shows."""

STAGED: dict[str, str] = {
    "docs/guide/extend.md": "tests/docs/test_extend.py",
    "docs/examples/order/README.md": "tests/docs/test_order.py",
}
"""Pages whose `console` blocks need a stage of their own, and the test that follows them."""


def shown_commands() -> Iterator[tuple[str, str]]:
    """Commands that stand in blocks, or in the text as something to type, with their page."""
    for page in PAGES:
        inline = [*inline_commands(page, ".venv/bin/"), *inline_commands(page, "python -m bench ")]
        for command in dict.fromkeys([*indented_commands(page), *inline]):
            yield name_of(page), command


@pytest.mark.real
@pytest.mark.timeout(240)  # a page is a dozen processes, one after the other
@pytest.mark.parametrize(
    "page", [each for each in console_pages() if name_of(each) not in STAGED], ids=name_of
)
def test_a_pages_commands_print_what_it_shows(page: Path, tmp_path: Path) -> None:
    try:
        _follow(page, tmp_path / "first")
    except AssertionError:
        if name_of(page) not in KILLS:
            raise
        _follow(page, tmp_path / "second")


def _follow(page: Path, directory: Path) -> None:
    directory.mkdir()
    with EmbeddedServer() as server:
        reader = Page(directory, server.url)
        try:
            reader.follow(page)
        finally:
            reader.close()


@pytest.mark.parametrize(("page", "command"), list(shown_commands()))
def test_a_command_outside_a_console_is_run_by_something_else(page: str, command: str) -> None:
    """Write it in a `console` block, or say in `INSTEAD` what runs instead."""
    assert command in INSTEAD, page


def test_what_is_run_instead_is_of_commands_that_are_shown() -> None:
    shown = {command for _, command in shown_commands()}
    assert sorted(INSTEAD.keys() - shown) == []


@pytest.mark.parametrize("file", sorted({file for _, file in INSTEAD.values()} | set(STAGED.values())))
def test_what_runs_instead_is_there(file: str) -> None:
    assert (ROOT / file).is_file()


def test_the_pages_that_are_staged_elsewhere_are_there() -> None:
    assert [page for page in STAGED if not (ROOT / page).is_file()] == []


@pytest.mark.parametrize("module", ["bench", "argyll_redis.testing.simulator"])
def test_options_of_programs_that_are_shown_exist(module: str) -> None:
    told = subprocess.run([sys.executable, "-m", module, "--help"], cwd=ROOT, capture_output=True, text=True)
    used = {
        word
        for _, command in shown_commands()
        if f"-m {module} " in command
        for word in shlex.split(command)
        if word.startswith("--")
    }
    assert used
    assert used - set(re.findall(r"--[a-z-]+", told.stdout)) == set()


# --------------------------------------------------------------- within sentences


def pieces() -> list[tuple[str, str]]:
    """Each `argyll ...` within a sentence or a table, with its page."""
    return [(name_of(page), each) for page in PAGES for each in inline_commands(page, "argyll ")]


def faults(piece: str) -> list[str]:
    """What of a command line does not exist: a command, an option."""
    command: click.Command = argyll
    context = click.Context(argyll)
    found: list[str] = []
    words = [word for word in re.split(r"[\s=\[\]|]+", piece.partition(" | ")[0]) if word][1:]
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            within = command.get_command(context, word)
            if within is None:
                if word.islower() and word.isalpha():
                    found.append(word)
                break
            command = within
        elif word.startswith("--"):
            known = {name for each in command.get_params(context) for name in each.opts}
            found += [word] if word not in known | {"--version", "--help"} else []
    return found


def test_commands_within_sentences_exist() -> None:
    assert len(pieces()) > 20
    wrong = [(page, piece, faults(piece)) for page, piece in pieces() if faults(piece)]
    assert wrong == []


@pytest.mark.parametrize("piece", ["argyll flwo list", "argyll flow lst", "argyll flow list --al"])
def test_a_command_that_does_not_exist_is_found(piece: str) -> None:
    assert len(faults(piece)) == 1


# ------------------------------------------------------------ that this can fail


def follow(directory: Path, text: str) -> None:
    """Follows a page that a test makes up."""
    page = directory / "page.md"
    page.write_text(text)
    reader = Page(directory, "memory://")
    try:
        reader.follow(page)
    finally:
        reader.close()


def test_commands_of_a_page_are_typed_into_one_shell(tmp_path: Path) -> None:
    follow(tmp_path, "```console\n$ word=one\n```\n\n```console\n$ echo $word\none\n```\n")


def test_a_file_of_a_page_is_there_for_the_commands_after_it(tmp_path: Path) -> None:
    follow(tmp_path, "```python\n# say.py\nprint(1)\n```\n\n```console\n$ python say.py\n1\n```\n")


def test_what_goes_on_in_another_terminal_is_told_and_interrupted(tmp_path: Path) -> None:
    goes_on = "import time\nprint('export A=b', flush=True)\ntry: time.sleep(60)\n"
    file = f"```python\n# wait.py\n{goes_on}except KeyboardInterrupt: print('over')\n```\n\n"
    started = "```console other\n$ python wait.py\nexport A=b\n```\n\n```console\n$ echo $A\nb\n```\n\n"
    follow(tmp_path, f"{file}{started}```console other\n^C\nover\n```\n")


def test_a_status_that_is_shown_may_be_any(tmp_path: Path) -> None:
    follow(tmp_path, "```console\n$ (exit 3)\n$ echo $?\n3\n```\n")


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ("$ echo two\none\n", "--- it printed\ntwo"),
        ("$ (exit 3)\n", "ended with 3"),
        ("$ echo one\n", "printed\none"),
    ],
)
def test_a_page_that_is_wrong_is_found(block: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=words):
        follow(tmp_path, f"```console\n{block}```\n")


def test_a_console_block_is_read_as_commands_and_what_they_print() -> None:
    text = "$ cat <<END\n> one\n> END\none\n$ true\n"
    assert [(each.command, each.printed) for each in typed(text)] == [
        ("cat <<END\none\nEND", "one\n"),
        ("true", ""),
    ]


@pytest.mark.parametrize(
    ("expected", "actual", "same"),
    [
        ("a ... c\n", "a b c\n", True),
        ("a\n", "a  \n", True),
        ("a\n...\n", "a\nb\nc\n", True),
        ("a\n", "b\n", False),
        ("", "a\n", False),
        ("a\n", "", False),
    ],
)
def test_what_is_printed_is_compared(expected: str, actual: str, same: bool) -> None:
    assert agrees(expected, actual) == same


def test_every_page_of_the_docs_is_reached_from_the_readme() -> None:
    """Links lead to each page, by way of others."""
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop().resolve()
        if page in reached or not page.is_file():
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^)#:]+\.md)(?:#[^)]*)?\)", page.read_text())
        ahead += [page.parent / link for link in links]
    assert [name_of(page) for page in PAGES if page.resolve() not in reached] == []
    assert DOCS.is_dir()
    assert fences(ROOT / "README.md")
