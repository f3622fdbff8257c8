"""The examples: each runs alone, wherever it is started, and prints what its story says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import servers

ROOT = Path(__file__).parent.parent.parent
EXAMPLES = ROOT / "docs" / "examples"
FILES = sorted(EXAMPLES.glob("*.py"))
LIMIT_S = 45
_NO_AOF = "has no append-only file"
"""A warning about the servers of these tests, which keep nothing."""

TWO_ENGINES = [
    "fetch ran 12 times in the io engine",
    "digest ran 12 times in the cpu engine",
]
ONE_PROCESS = [
    "memory:// is within one process: it serves both queues, and others cannot join",
    "fetch ran 12 times in this process",
    "digest ran 12 times in this process",
]

TELLING: dict[str, list[str]] = {
    "hello.py": [
        "The goal greet gave {'greeting': 'Bonjour, Ann!'}",
        "Why is greet completed?",
        "  `salutation` was provided by `choose_salutation` (event N)",
        "  look_up_customer alone ran look_up_customer",
        "  greet with a salutation gave {'greeting': 'Good day, Ann!'} and ran greet, look_up_customer",
    ],
    "for_each_with_retries.py": [
        "beach.jpg        succeeded        0",
        "harbour.jpg      succeeded        1",
        "market.jpg       succeeded        1",
        "storm.jpg        failed           0  the file is damaged",
        "The step is completed; the page has:",
        "market.jpg -> market.thumb.webp",
        "  item 5 failed: the file is damaged (event N)",
    ],
    "alternatives.py": [
        "100 EUR are 125.0 USD, at the rate of read_cache",
        "  read_cache is completed:",
        "  ask_bank is skipped:",
        "    it was skipped: nobody wants what it provides any more (event N)",
        "100 GBP are 150.0 USD, at the rate of ask_bank",
        "  read_cache is failed:",
        "    it failed after N ms: GBP is not in the cache (event N)",
        "  ask_bank is completed:",
    ],
    "cheap_source_first.py": [
        "Ann: a letter to 1 Mill Lane",
        "  ask_bureau is failed: it failed before it started: "
        'input "known" has a value, and the step runs only without one',
        "Bo: a letter to an address of Bo, for 2 EUR",
        "Cy: a letter to an address of Cy, for 2 EUR",
        "  look_in_book is failed: it failed after N ms: the page is torn",
    ],
    "human_approval.py": [
        "  the flow is active, and waits for approve",
        "  on a server: argyll flow complete ID approve --output approved=true",
        "  here: app.complete counted: True",
        "  the result is {'order': 'a new server is ordered'}",
        "  somebody else says no, later: app.complete counted: False",
        "  the result is {}",
        "  place_order: it was skipped: its predicate was false for these inputs",
        '  flow "ID" failed: timed out',
        "  an answer within linger_ms is on record: True",
        "  but it orders nothing: place_order is pending",
    ],
    "csv_report.py": [
        "PACKAGE          VERSION    FILES    KIB  CHANGED",
        "Not checked: no-such-package",
        "  read_record: item 4 failed: PackageNotFoundError: "
        "No package metadata was found for no-such-package (event N)",
    ],
    "queues.py": TWO_ENGINES if servers.programs() else ONE_PROCESS,
    "testing_a_flow.py": ["30 seeds, and the card was charged once in each"],
    "starlette_service.py": [
        "POST /orders: 202",
        "  1-0   flow_started",
        "  12-0  flow_completed",
        "  13-0  flow_deactivated",
        "GET its events again, of which all but two were seen: 11-0",
        "  12-0  flow_completed",
        "  13-0  flow_deactivated",
        "GET its status: completed",
        "POST the same again: 202, the same flow: True",
        'POST another order under its id: 409, flow "ID" exists and was started with something else; '
        "choose another id",
        "GET an order that nobody made: 404",
    ],
}
"""The lines that an example is about, in their order."""


@dataclass(frozen=True)
class Ran:
    """What an example printed and ended with."""

    status: int
    out: str
    err: str

    def told(self, lines: list[str]) -> list[str]:
        """Those of these lines that it printed, in its order, whatever their ids, events and times are."""
        told = re.sub(r"\b(order-[0-9a-f]{8}|[0-9a-f]{16})\b", "ID", self.out)
        told = re.sub(r"\(event \d+\)", "(event N)", told)
        told = re.sub(r"after \d+ ms", "after N ms", told)
        return [line for line in told.splitlines() if line in lines]


def run(file: Path, directory: Path, *arguments: str, **variables: str) -> Ran:
    """Runs an example as its reader would, in another directory; what it started ends with it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARGYLL_")}
    process = subprocess.Popen(
        [sys.executable, file, *arguments],
        cwd=directory,
        env={**clean, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=LIMIT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return Ran(process.returncode, out, err)


def namespace_of(file: Path) -> str | None:
    """The namespace that an example works in; none when it says none."""
    found = re.search(r'namespace="([^"]+)"', file.read_text())
    return found[1] if found else None


# ---------------------------------------------------------------------------- each one


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_tells_its_story_where_nothing_is_set_up(file: Path, tmp_path: Path) -> None:
    lines = TELLING.get(file.name, [])
    ran = run(file, tmp_path)
    assert (ran.status, ran.err, ran.told(lines)) == (0, "", lines), ran.out
    assert ran.out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_tells_the_same_story_on_a_server(
    file: Path, real_server: servers.TestServer, tmp_path: Path
) -> None:
    real_server.namespace = namespace_of(file) or real_server.namespace
    lines = TWO_ENGINES if file.name == "queues.py" else TELLING.get(file.name, [])
    ran = run(file, tmp_path, ARGYLL_REDIS_URL=real_server.url)
    errors = [line for line in ran.err.splitlines() if _NO_AOF not in line]
    assert (ran.status, errors, ran.told(lines)) == (0, [], lines), ran.out


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_says_at_its_top_how_to_run_it(file: Path) -> None:
    docstring = file.read_text().split('"""')[1]
    assert f"python docs/examples/{file.name}" in docstring


def test_the_index_has_every_example_and_no_other() -> None:
    listed = re.findall(r"^\| \[[^]]+\]\(([^)]+)\)", (EXAMPLES / "README.md").read_text(), re.M)
    programs = [f"{page.parent.name}/README.md" for page in EXAMPLES.glob("*/README.md")]
    assert sorted(listed) == sorted([*(file.name for file in FILES), *programs])


def test_each_example_has_a_namespace_of_its_own() -> None:
    """In a shared one the steps of one would provide attributes of another."""
    named = [namespace for file in FILES if (namespace := namespace_of(file))]
    assert sorted(set(named)) == sorted(named)


# ------------------------------------------------------------------- where things are missing


def test_queues_shows_one_process_where_the_server_is_memory(tmp_path: Path) -> None:
    ran = run(EXAMPLES / "queues.py", tmp_path, ARGYLL_REDIS_URL="memory://")
    assert (ran.status, ran.err, ran.out.splitlines()) == (0, "", ONE_PROCESS)


def test_queues_says_what_it_cannot_show_where_no_server_is_on_path(tmp_path: Path) -> None:
    ran = run(EXAMPLES / "queues.py", tmp_path, PATH=str(tmp_path))
    server = (
        "The server: in memory, this process only, nothing is kept (no redis-server or valkey-server on PATH)"
    )
    assert (ran.status, ran.err, ran.out.splitlines()) == (0, "", [server, *ONE_PROCESS])


def test_the_service_says_which_packages_it_needs(tmp_path: Path) -> None:
    (tmp_path / "starlette.py").write_text("raise ModuleNotFoundError('away', name='starlette')\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = run(EXAMPLES / "starlette_service.py", tmp_path, PYTHONPATH=path)
    message = "starlette is missing: this example needs pip install 'argyll-redis[server]' httpx\n"
    assert (ran.status, ran.out, ran.err) == (1, "", message)


def test_the_csv_report_finds_a_file_that_was_changed(tmp_path: Path) -> None:
    package = tmp_path / "toy-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (tmp_path / "toy.py").write_text("")
    (tmp_path / "other.py").write_text("changed = True\n")
    of_nothing = "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"
    rows = [f"{name},{of_nothing},0" for name in ("toy.py", "other.py", "gone.py")]
    (package / "RECORD").write_text("\n".join([*rows, "toy-1.0.dist-info/RECORD,,"]))
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    ran = run(EXAMPLES / "csv_report.py", tmp_path, "toy", PYTHONPATH=path)
    row = "toy              1.0            3      0  other.py, gone.py"
    assert (ran.status, ran.err, ran.told([row])) == (0, "", [row]), ran.out
