"""A command line against a namespace of the test's own."""

from __future__ import annotations

import pytest
from cli_words import Cli
from servers import TestServer


@pytest.fixture
def cli() -> Cli:
    """Commands against a namespace in memory, which this process shares with engines beside."""
    return Cli()


@pytest.fixture
def real_cli(real_server: TestServer) -> Cli:
    """Commands against a namespace on a real server, which other processes share."""
    return Cli(real_server.url, real_server.namespace)
