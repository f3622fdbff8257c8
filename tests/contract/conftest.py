"""Three engine processes and a server of services for the whole folder; for each test a desk, a client,
and a catalog that is empty again when it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from uuid import uuid4

import pytest
import servers
from contract_client import Outside
from contract_engines import EngineProcess, Start
from contract_services import Services

REDIS = "redis-server"
LEASE_MS = 1_500
"""Where engines are killed: short, so that their work is soon taken over; longer than a busy machine's
pauses."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of these need a real server."""
    for item in items:
        if "tests/contract/" in item.path.as_posix() and "redis_url" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def services() -> Iterator[Services]:
    with Services() as running:
        yield running


@pytest.fixture(scope="session")
def redis_url() -> str:
    if REDIS not in servers.programs():
        servers.leave_out(f"no {REDIS} on PATH")
    return servers.start_server(REDIS)


@pytest.fixture(scope="session")
def engines(redis_url: str) -> Iterator[list[EngineProcess]]:
    """Three engines of one namespace, each with an API."""
    namespace = f"contract-{uuid4().hex[:6]}"
    with ExitStack() as stack:
        started = [
            EngineProcess(redis_url, namespace, "--app", "contract_app:app", "--linger-ms", "60000")
            for _ in range(3)
        ]
        for each in started:
            stack.callback(each.close)
        assert all(each.url for each in started)
        yield started
        assert [bug for each in started for bug in each.bugs()] == []


@pytest.fixture
def outside(engines: list[EngineProcess], services: Services) -> Iterator[Outside]:
    """A client of the three engines."""
    client = Outside([each.url for each in engines], services.desk())
    client.forget_steps()
    try:
        yield client
    finally:
        client.desk.release_all()
        client.close()


@pytest.fixture(scope="module")
def start_engine(redis_url: str) -> Iterator[Start]:
    """Starts engines in a namespace of the module's own, where they may be killed."""
    namespace = f"contract-{uuid4().hex[:6]}"
    with ExitStack() as stack:

        def start(*options: str) -> EngineProcess:
            process = EngineProcess(redis_url, namespace, "--lease-ms", str(LEASE_MS), *options)
            stack.callback(process.close)
            return process

        yield start
