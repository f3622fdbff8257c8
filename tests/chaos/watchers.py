"""Clients that look on: some follow flows event by event, one reads flows again and again.

What they were given is journalled, so that the audit can say whether anybody missed an event, had one
twice, or saw a flow go back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from argyll_redis import Argyll
from argyll_redis.errors import EventsMissed, StoreUnavailable, UnknownFlow
from tests.chaos.journals import Journal

FLOWS_A_FOLLOWER = 25
"""One flow of so many is followed."""
AGAIN_S = 0.2
READ_S = 0.2
END_LIMIT_S = 30
"""Longest until the last follower has seen the end of its flow, once all is drained."""
AWAY = (StoreUnavailable, UnknownFlow, EventsMissed)
"""What a client that goes on later is told: there is no server, or no such flow yet."""


class Watchers:
    """Followers and a reader, in the client's process."""

    def __init__(self, app: Argyll, journal: Journal, draw: random.Random) -> None:
        self.followed = 0
        self.begun_anew = 0
        """Times that a follower lost its server and began anew, under another name."""
        self._app = app
        self._journal = journal
        self._draw = draw
        self._flows: list[str] = []
        self._followers: dict[str, asyncio.Task[None]] = {}
        self._reader: asyncio.Task[None] | None = None

    def watch(self, flows: Sequence[str]) -> None:
        """Watches flows that are about to be started."""
        loop = asyncio.get_running_loop()
        self._flows += flows
        for flow in flows[::FLOWS_A_FOLLOWER]:
            self.followed += 1
            self._followers[flow] = loop.create_task(self._follow(flow))
        self._reader = self._reader or loop.create_task(self._read())

    async def ended(self) -> list[str]:
        """Waits until all followers have come to the end; gives the flows of those that have not."""
        if self._followers:
            await asyncio.wait(self._followers.values(), timeout=END_LIMIT_S)
        return [flow for flow, task in self._followers.items() if not task.done() or task.exception()]

    def close(self) -> None:
        for task in (*self._followers.values(), *filter(None, [self._reader])):
            task.cancel()

    async def _follow(self, flow: str) -> None:
        for number in range(10**6):
            try:
                async for event in self._app.flow(flow).events():
                    version = int(str(event["id"]).partition("-")[0])
                    self._journal.note(do="feed", client=f"{flow}-{number}", flow=flow, version=version)
                return
            except AWAY as error:
                self.begun_anew += not isinstance(error, UnknownFlow)
                await asyncio.sleep(AGAIN_S)

    async def _read(self) -> None:
        while True:
            await asyncio.sleep(READ_S)
            flow = self._draw.choice(self._flows[-100:])
            try:
                version, _ = await self._app.position(flow)
            except AWAY:
                continue
            self._journal.note(do="read", client="reader", flow=flow, version=version)
