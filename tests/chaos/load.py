"""The client of a run: starts flows at a pace, goes on asking until it is answered, and journals both."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from argyll_redis import Argyll
from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from tests.chaos.journals import Journal
from tests.chaos.processes import GaveUp

TICK_S = 0.1
"""Flows are started in batches, one a tick."""
ASKING_AT_A_TIME = 20
"""Batches that wait for their answer."""
AGAIN_S = 0.1
LIMIT_S = 120
"""Longest until a start is answered, whatever happens to the server."""


class Load:
    """Starts flows, and remembers when it was answered."""

    def __init__(self, app: Argyll, journal: Journal) -> None:
        self.acknowledged: list[str] = []
        self.refused: dict[str, str] = {}
        self.answered_s: list[float] = []
        """When there was an answer (monotonic)."""
        self.unknown = 0
        """Starts without an answer that were asked for again."""
        self._app = app
        self._journal = journal
        self._room = asyncio.Semaphore(ASKING_AT_A_TIME)

    async def run(self, requests: Sequence[dict[str, Any]], *, per_s: float) -> None:
        """Starts all flows, so many a second. Raises `GaveUp` when a start is never answered."""
        size = max(1, round(per_s * TICK_S))
        began_s = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for first in range(0, len(requests), size):
                ahead_s = began_s + first / per_s - time.monotonic()
                if ahead_s > 0:
                    await asyncio.sleep(ahead_s)
                await self._room.acquire()
                group.create_task(self._start(requests[first : first + size]))

    async def _start(self, requests: Sequence[dict[str, Any]]) -> None:
        try:
            deadline_s = time.monotonic() + LIMIT_S
            waiting = list(requests)
            while waiting:
                waiting = await self._ask(waiting)
                if waiting and time.monotonic() > deadline_s:
                    raise GaveUp(f"no answer to the start of {waiting[0]['id']} within {LIMIT_S} s")
                if waiting:
                    await asyncio.sleep(AGAIN_S)
        finally:
            self._room.release()

    async def _ask(self, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Asks once; gives those that are to be asked for again."""
        try:
            answers: Sequence[Any] = await self._app.start_many(requests)
        except NamespaceEmptied:
            raise
        except StoreUnavailable as error:
            answers = [error] * len(requests)
        again: list[dict[str, Any]] = []
        for request, answer in zip(requests, answers, strict=True):
            flow = request["id"]
            match answer:
                case NamespaceEmptied():
                    raise answer
                case StoreUnavailable():
                    self.unknown += 1
                    again.append(request)
                    self._note(flow, "unknown")
                case Exception():
                    self.refused[flow] = str(answer)
                    self._note(flow, "refused")
                case _:
                    self.acknowledged.append(flow)
                    self.answered_s.append(time.monotonic())
                    self._note(flow, "ok")
        return again

    def _note(self, flow: str, answer: str) -> None:
        self._journal.note(do="start", flow=flow, answer=answer, at=time.time_ns() // 1_000_000)
