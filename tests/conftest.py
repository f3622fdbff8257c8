"""What all tests share: the event loop, and the servers and stores they run on."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import servers

# Hundreds of processes are started, and where Python is told to keep no bytecode each of them would compile
# the whole package anew, which takes as long as all else that most of them do.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

SERVER_FIXTURES = {"server", "real_server", "store_factory", "lua"}
"""Those that see to a missing server themselves, server by server."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "contract(subject, words): shows this row of docs/reference/contract.md"
    )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """One worker more than there are cores: most tests wait for a server or for another process half of
    their time."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # somebody has said how many
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among several workers those that may take longest come first: at the end each has little left."""
    if hasattr(config, "workerinput"):
        items.sort(key=_limit_s, reverse=True)


def _limit_s(item: pytest.Item) -> float:
    """How long a test may take, where that is longer than usual; else 0."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None and mark.args else 0.0


def pytest_runtest_setup(item: pytest.Item) -> None:
    """A test that starts a server by itself is left out where none is on PATH; under CI that fails."""
    fixtures = set(getattr(item, "fixturenames", ()))
    if item.get_closest_marker("real") and not fixtures & SERVER_FIXTURES and not servers.programs():
        servers.leave_out(f"no {' or '.join(servers.BINARIES)} on PATH")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[Any]:
    """What a test printed may hold text that is no Unicode, and reports travel between processes."""
    report: pytest.TestReport = yield
    report.sections = [(name, _escaped(text)) for name, text in report.sections]
    if isinstance(report.longrepr, str):
        report.longrepr = _escaped(report.longrepr)
    return report


def _escaped(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=servers.kinds("fakeredis"))
def server(request: pytest.FixtureRequest) -> Iterator[servers.TestServer]:
    """fakeredis and every real server, each with a namespace of the test's own."""
    yield from servers.checked_server(request.param)


@pytest.fixture(params=servers.kinds())
def real_server(request: pytest.FixtureRequest) -> Iterator[servers.TestServer]:
    """Every real server, with a namespace of the test's own."""
    yield from servers.checked_server(request.param)


@pytest.fixture(params=servers.kinds("memory", "fakeredis"))
async def store_factory(request: pytest.FixtureRequest) -> AsyncIterator[servers.StoreFactory]:
    """Makes stores of one namespace: in memory, on fakeredis, on every real server."""
    async for factory in servers.checked_factory(request.param):
        yield factory
