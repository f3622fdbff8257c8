"""What all tests share: the event loop, and the servers and stores they run on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import servers

SERVER_FIXTURES = {"server", "real_server", "store_factory", "lua"}
"""Those that see to a missing server themselves, server by server."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "contract(subject, words): shows this row of docs/reference/contract.md"
    )


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
