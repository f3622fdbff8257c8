"""Following flows: the feed says that a flow went on, whoever committed it.

One blocking read serves everybody in this process who follows anything. The feed is a hint: where
entries may have been trimmed before they were read, every follower of the partition looks again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from argyll_redis.core.state import Flow, FlowStatus
from argyll_redis.errors import EventsMissed, NamespaceEmptied, StoreUnavailable
from argyll_redis.runtime.clock import spread_ms
from argyll_redis.store.protocol import CONTROL, FeedEntry, Fetch, Store, StreamRef, partition_of

log = logging.getLogger(__name__)

BLOCK_MS = 2_000
MAX_NEWS = 10_000
"""Flows that somebody who follows all of them may be behind with."""
ERROR_DELAY_MS = 1_000
UNWANTED_READS = 5
"""Reads that go on after the last follower has left: the next one finds the feeds being read."""


LOOK = "look"
"""Told in place of a status where something may have been missed."""
NEWS_OF_AN_OUTCOME = frozenset({FlowStatus.COMPLETED, FlowStatus.FAILED, LOOK})


class Following:
    """One who follows one flow, and is woken whenever it may have gone on, or may be over."""

    def __init__(self, follower: Follower, flow_id: str, *, to_outcome: bool) -> None:
        self.flow_id = flow_id
        self._to_outcome = to_outcome
        self.status = ""
        """The newest status that the feed has told; empty when it has told none."""
        self._changed = asyncio.Event()
        self._follower = follower
        self.error: BaseException | None = None

    def hear(self, status: str) -> None:
        if not self._to_outcome or status in NEWS_OF_AN_OUTCOME:
            self.status = status or self.status
            self._changed.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self._changed.set()

    async def wait(self) -> None:
        """Waits for the next change after the last wait."""
        await self._changed.wait()
        self._changed.clear()
        if self.error is not None:
            raise self.error.with_traceback(None)  # others raise it as well, and each would make it longer

    async def rest(self, limit_ms: int) -> None:
        """Waits a random while before a look that failed is made again."""
        await asyncio.sleep(self._follower.spread(limit_ms) / 1000)

    async def __aenter__(self) -> Following:
        await self._follower.add(self)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._follower.remove(self)


class Overview:
    """One who follows every flow: which ones went on, and from which version."""

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._news: dict[str, int] = {}
        """First version that was not taken yet, by flow, in the order in which they went on."""
        self._changed = asyncio.Event()
        self._error: BaseException | None = None

    def hear(self, entry: FeedEntry) -> None:
        if len(self._news) < MAX_NEWS:
            self._news.setdefault(entry.flow, entry.first)
            self._changed.set()
        elif entry.flow not in self._news:
            self.fail(EventsMissed(f"more than {MAX_NEWS:,} flows went on before they were looked at"))

    def fail(self, error: BaseException) -> None:
        self._error = self._error or error
        self._changed.set()

    async def news(self) -> dict[str, int]:
        """Waits until flows went on, and takes what there is: flow to the first version that is new.

        Raises `EventsMissed` when that cannot be told any more.
        """
        await self._changed.wait()
        self._changed.clear()
        if self._error is not None:
            raise self._error
        news, self._news = self._news, {}
        return news

    async def __aenter__(self) -> Overview:
        await self._follower.add_overview(self)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._follower.remove_overview(self)


async def check_instance(store: Store) -> None:
    """Raises `NamespaceEmptied` when the namespace is not the one that was opened: reading tells nothing
    of it, so whoever reads nothing looks."""
    await store.fetch(Fetch("reader", 0, [StreamRef(0, CONTROL)], control=0))


class Follower:
    """Reads the feeds while anybody follows."""

    def __init__(self, store: Store, spread: Callable[[float], float] = spread_ms) -> None:
        self._store = store
        self.spread = spread
        self._following: dict[str, dict[Following, None]] = {}
        """By flow; in order, as all that is woken shall be woken in the same order every time."""
        self._overviews: dict[Overview, None] = {}
        self._cursors: dict[int, str] = {}
        self._task: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None

    def follow(self, flow_id: str, *, to_outcome: bool = False) -> Following:
        """To be entered (`async with`); from then on no change is missed, or `to_outcome` not the last."""
        return Following(self, flow_id, to_outcome=to_outcome)

    def overview(self) -> Overview:
        """To be entered (`async with`); from then on nothing of any flow is missed without a word."""
        return Overview(self)

    async def add(self, following: Following) -> None:
        self._following.setdefault(following.flow_id, {})[following] = None
        try:
            await self._reading()
        except BaseException:
            self.remove(following)
            raise

    async def add_overview(self, overview: Overview) -> None:
        self._overviews[overview] = None
        try:
            await self._reading()
        except BaseException:
            self.remove_overview(overview)
            raise

    def remove_overview(self, overview: Overview) -> None:
        self._overviews.pop(overview, None)

    async def _reading(self) -> None:
        """Waits until the feeds are being read."""
        while self._task is None or self._task.done():
            if self._beginning is None:
                self._beginning = asyncio.get_running_loop().create_task(self._begin())
            await asyncio.shield(self._beginning)  # one serves all that wait

    def remove(self, following: Following) -> None:
        others = self._following.get(following.flow_id, {})
        others.pop(following, None)
        if not others:
            self._following.pop(following.flow_id, None)

    def committed(self, flow: Flow, before: int) -> None:
        """Hears of a commit of this process; the feed will tell of it again."""
        for following in self._following.get(flow.id, ()):
            following.hear(flow.status if flow.is_over else "")

    async def _begin(self) -> None:
        """Finds out where the feeds are, so that whatever comes after is seen, and starts reading."""
        try:
            reply = await self._store.feed(dict.fromkeys(range(self._store.partitions), "$"), 0)
        finally:
            self._beginning = None
        self._cursors = dict(reply.cursors)
        self._task = asyncio.get_running_loop().create_task(self._read())

    @property
    def _is_wanted(self) -> bool:
        return bool(self._following or self._overviews)

    async def _read(self) -> None:
        unwanted = 0
        try:
            while self._is_wanted or unwanted < UNWANTED_READS:
                unwanted = 0 if self._is_wanted else unwanted + 1
                try:
                    reply = await self._store.feed(self._cursors, BLOCK_MS)
                    if not reply.entries:
                        await check_instance(self._store)
                except NamespaceEmptied:
                    raise
                except StoreUnavailable as error:
                    log.warning("following failed: %s", error)
                    await asyncio.sleep(self.spread(ERROR_DELAY_MS) / 1000)
                    self._look_again(range(self._store.partitions))
                    continue  # the cursors stay: whoever follows all has missed nothing
                self._cursors.update(reply.cursors)
                for entry in reply.entries:
                    self._tell(entry)
                if reply.gaps:
                    self._miss()
                self._look_again(reply.gaps)
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        for group in self._following.values():
            for following in group:
                following.fail(error)
        for overview in self._overviews:
            overview.fail(error)

    def _tell(self, entry: FeedEntry) -> None:
        for following in self._following.get(entry.flow, ()):
            following.hear(entry.status)
        for overview in self._overviews:
            overview.hear(entry)

    def _miss(self) -> None:
        for overview in self._overviews:
            overview.fail(EventsMissed("the feed was trimmed before it was read"))

    def _look_again(self, partitions: range | frozenset[int]) -> None:
        if not partitions:
            return
        for flow_id, group in self._following.items():
            if partition_of(flow_id, self._store.partitions) in partitions:
                for following in group:
                    following.hear(LOOK)

    async def close(self) -> None:
        """Reads no more; whoever still follows is told."""
        self._fail(StoreUnavailable("the app was closed while this was waited for"))
        for task in (self._beginning, self._task):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self._task = None
