"""The service of a run as a process: started, asked how it is, ended."""

from __future__ import annotations

import asyncio
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.engines import ROOT
from tests.chaos.processes import Child, GaveUp, free_port

START_LIMIT_S = 30
POLL_S = 0.05


class ServiceProcess:
    """What `tests.chaos.service` is in a run."""

    def __init__(self, directory: Path, journals: Path, *, seed: int, bases: Sequence[str]) -> None:
        """`bases` are the addresses of the engines, to which webhooks are posted."""
        self._port = free_port()
        asked = {"port": self._port, "journals": str(journals), "seed": seed, "bases": list(bases)}
        command = [sys.executable, "-m", "tests.chaos.service", json.dumps(asked)]
        self.child = Child("service", command, directory, {"PYTHONPATH": str(ROOT)})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Starts it and waits until it answers. Raises `GaveUp`."""
        self.child.start()
        for _ in range(round(START_LIMIT_S / POLL_S)):
            if await asyncio.to_thread(self._answers):
                return
            await asyncio.sleep(POLL_S)
        raise GaveUp(f"the service does not start: {self.child.last_words()}")

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False
