"""I-18: a log gives one state, in whatever order Python keeps its sets and dicts of texts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLD = """
import hashlib
import json
from test_golden_logs import fold, golden, plain

for name, lines in golden().items():
    state = json.dumps(plain(fold(lines).picture()))
    print(name, hashlib.sha256(state.encode()).hexdigest())
"""


def folded(hash_seed: str) -> str:
    """The states of all golden logs, as a Python of this seed folds them."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "core")])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, "-c", FOLD], env=environment, check=True, capture_output=True, text=True
    ).stdout


@pytest.mark.timeout(120)
def test_a_log_is_folded_to_one_state_whatever_the_hash_seed() -> None:
    """Four processes with four seeds give the same states."""
    states = {folded(seed) for seed in "0123"}
    assert len(states) == 1
    assert states.pop().count("\n") > 5
