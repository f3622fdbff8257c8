"""The gates in their short forms; `python -m tests.chaos GATE` is the whole of each."""

from __future__ import annotations

import pytest

from tests.chaos.__main__ import run_gate
from tests.chaos.gates import GATES
from tests.chaos.ground import Asked

SEED = 7
IN_CI = ("engines", "redis", "queues", "network", "server", "full", "rolling", "flushall")
"""The others need minutes, another version, or a machine that does nothing else."""

pytestmark = [pytest.mark.anyio, pytest.mark.real, pytest.mark.timeout(300)]


@pytest.mark.parametrize("gate", [gate for gate in GATES if gate.name in IN_CI], ids=lambda gate: gate.name)
async def test_a_gate_holds_in_its_short_form(gate) -> None:
    """Real processes are struck, and everything that the gate promises holds."""
    report = await run_gate(gate, Asked(SEED, gate.short, is_short=True))
    assert report.wrong == []
