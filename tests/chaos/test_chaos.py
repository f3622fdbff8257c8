"""Engines killed under load, in a reduced size; `python -m tests.chaos` is the whole of it."""

import pytest

from tests.chaos.run import run
from tests.servers import TestServer

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


async def test_two_engines_are_killed_and_every_flow_ends(real_server: TestServer) -> None:
    """One engine is killed in the middle, later the other, while a third starts: all flows end, the
    audit finds nothing, and the queues are empty."""
    outcome = await run(real_server.url, real_server.namespace, flows=200)
    assert outcome.statuses == {"completed": 160, "failed": 40}
    assert (outcome.open_flows, outcome.violations, outcome.waiting) == (0, [], 0)
