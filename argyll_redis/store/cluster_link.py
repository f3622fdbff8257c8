"""Connections to the nodes of a Redis Cluster: a command goes to the node that has its key.

One `Link` a node, made at its first use. A node that has a slot no more says who has it (MOVED), and a
slot on its way is asked for at both ends (ASK): the command is sent on at once, and the map of the slots
is asked for anew before the next one. A node that cannot be reached leaves its calls unanswered, as one
server does, and the next call asks another node where the slots are.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence

from argyll_redis.errors import InvalidInput, StoreUnavailable, StoreUnfit
from argyll_redis.store.answers import exception_for
from argyll_redis.store.cluster_slots import Hop, SlotMap, slot_of, tag_of
from argyll_redis.store.connect import (
    BlockingConnection,
    BlockingLink,
    Command,
    Connection,
    Link,
    Reply,
    make_blocking_connection,
    make_connection,
)
from argyll_redis.store.copies import Copying
from argyll_redis.store.url import CLUSTER, Host, named, read_url

HOPS = 8
"""How often a command is sent on at most."""
LOOK_LIMIT_MS = 1_000
"""Longest wait for a node that is asked where the slots are; then the next one is."""

BATCH = 64
"""Commands that are sent to a node in one round trip at most, because they were called at one moment."""

Batch = list[tuple[Command, asyncio.Future[Reply]]]
"""Commands, and who waits for the reply to each."""

ASKING: Command = ("ASKING",)
"""Says that the next command may be for a slot that is on its way here."""
_WHERE: Command = ("CLUSTER", "SLOTS")
_UNDECIDED = "the nodes of the Redis cluster do not agree who has a slot (try again)"


class NodeConnector:
    """Makes connections to one node."""

    def __init__(self, scheme: str, options: Mapping[str, object], node: Host) -> None:
        self.address = named(node)
        self._scheme = scheme
        self._options = {**options, "host": node[0], "port": node[1]}

    def connection(self) -> Connection:
        return make_connection(self._scheme, self._options)

    def blocking_connection(self) -> BlockingConnection:
        return make_blocking_connection(self._scheme, self._options)


class ClusterConnector:
    """Makes connections to the nodes of a cluster: those that a URL names, and those they tell of."""

    def __init__(self, url: str) -> None:
        """Raises `InvalidInput`, also for a URL that names no cluster."""
        read = read_url(url)
        if read.kind != CLUSTER:
            raise InvalidInput("the Redis URL names no cluster where one is meant (use redis+cluster://)")
        self.address = read.address
        self.seeds = read.hosts
        self._scheme = read.scheme
        self._options = read.options

    def at(self, node: Host) -> NodeConnector:
        return NodeConnector(self._scheme, self._options, node)

    def connection(self) -> Connection:
        return self.at(self.seeds[0]).connection()

    def blocking_connection(self) -> BlockingConnection:
        return self.at(self.seeds[0]).blocking_connection()


def read_where(reply: Reply, node: Host, slots: SlotMap) -> None:
    """Takes in what a node says of the slots. Raises `StoreUnavailable` when it does not say."""
    if isinstance(reply, Exception):
        if "cluster support disabled" in str(reply):
            raise StoreUnfit(f"redis at {named(node)} is not a node of a cluster (use redis://)")
        raise exception_for(reply)
    slots.take(reply, node)
    if not slots.nodes:
        slots.is_stale = True
        raise StoreUnavailable(f"redis at {named(node)} knows of no slot of its cluster (is it made yet?)")


class ClusterLink:
    """Bounded sets of connections, one a node; keeps the promises of `Link`."""

    def __init__(
        self, connector: ClusterConnector, slots: SlotMap, *, limit: int, copying: Copying | None = None
    ) -> None:
        self._connector = connector
        self._slots = slots
        self._limit = limit
        self._copying = copying
        self._links: dict[Host, Link] = {}
        self._looking = asyncio.Lock()
        self._batches: dict[Host, Batch] = {}
        """What is about to be sent to each node."""
        self._sending: dict[asyncio.Task[None], None] = {}
        self._is_closed = False

    async def call(self, command: Command, *, wait_ms: int = 0, copied: str = "") -> Reply:
        """Sends a command to the node of its key; `copied` is a key there that has the namespace's id, as a
        partition or `{ns}:meta` has it."""
        reply = await self._follow(command, wait_ms=wait_ms, copied=copied)
        if isinstance(reply, Exception):
            raise exception_for(reply)
        return reply

    async def pipeline(self, commands: Sequence[Command], *, copied: str = "") -> list[Reply]:
        """Sends commands in one round trip a node; an error reply is raised when all have been read."""
        replies = await self._all(commands, is_copied=bool(copied))
        for reply in replies:
            if isinstance(reply, Exception):
                raise exception_for(reply)
        return replies

    async def attempts(self, commands: Sequence[Command]) -> list[Reply]:
        """Sends commands in one round trip a node; error replies are given as they came."""
        return await self._all(commands, is_copied=False)

    async def refuse_behind(self, id_key: str) -> None:
        """As `Link.refuse_behind`, of the node that has the partition."""
        if self._copying is not None and self._copying.is_behind:
            await self.fresh()
            node = self._slots.owner(slot_of(("GET", id_key)))
            await self._at(node).refuse_behind(id_key)

    async def ask(self, node: Host, commands: Sequence[Command]) -> list[Reply]:
        """Sends commands to one node, whatever their keys; error replies are given as they came."""
        try:
            return await self._at(node).attempts(commands)
        except StoreUnavailable:
            self._slots.lose(node)
            raise

    async def fresh(self) -> None:
        """Asks where the slots are, if that is not known or not sure. Raises `StoreUnavailable`."""
        looks = self._slots.looks
        if not self._slots.is_stale:
            return
        async with self._looking:
            if self._slots.looks == looks or self._slots.is_stale:
                await self._look()

    async def close(self) -> None:
        """Drops all connections; calls in flight end first."""
        self._is_closed = True
        for link in self._links.values():
            await link.close()

    # ---------------------------------------------------------------------- nodes

    async def _look(self) -> None:
        error: StoreUnavailable | None = None
        for node in self._slots.to_ask():
            try:
                async with asyncio.timeout(LOOK_LIMIT_MS / 1000):
                    (reply,) = await self._at(node).attempts([_WHERE])
                read_where(reply, node, self._slots)
                return
            except TimeoutError:
                error = error or StoreUnavailable(f"cannot reach redis at {named(node)} (no reply in time)")
            except StoreUnavailable as raised:
                if isinstance(raised, StoreUnfit):
                    raise
                error = error or raised
        raise error or StoreUnavailable("no node of the Redis cluster is known")

    def _at(self, node: Host) -> Link:
        link = self._links.get(node)
        if link is None:
            if self._is_closed:
                raise StoreUnavailable("the store is closed")
            connector = self._connector.at(node)
            link = self._links[node] = Link(connector, limit=self._limit, copying=self._copying)
        return link

    # ---------------------------------------------------------------------- calls

    async def _follow(
        self, command: Command, *, first: Hop | None = None, wait_ms: int = 0, copied: str = ""
    ) -> Reply:
        """Sends a command wherever it is sent on to; gives its reply, which may be an error."""
        if first is None:
            await self.fresh()
        hop: Hop = first or Hop(self._slots.owner(slot_of(command)))
        for _ in range(HOPS):
            reply = await self._send(hop, command, wait_ms, copied)
            following = self._slots.after(reply, hop)
            if following is None:
                return reply
            hop = following
        raise StoreUnavailable(_UNDECIDED)

    async def _send(self, hop: Hop, command: Command, wait_ms: int, copied: str) -> Reply:
        if not (hop.is_asking or wait_ms or copied):
            return await self._send_with_others(hop.node, command)
        commands = [ASKING, command] if hop.is_asking else [command]
        try:
            return (await self._at(hop.node).attempts(commands, wait_ms=wait_ms, copied=copied))[-1]
        except StoreUnavailable:
            self._slots.lose(hop.node)
            raise

    async def _send_with_others(self, node: Host, command: Command) -> Reply:
        """Sends what is called at the same moment in one round trip: parts of one call are."""
        loop = asyncio.get_running_loop()
        batch = self._batches.get(node)
        if batch is None or len(batch) >= BATCH:
            batch = self._batches[node] = []
            loop.call_soon(self._send_batch, node, batch)
        answer: asyncio.Future[Reply] = loop.create_future()
        batch.append((command, answer))
        return await answer

    def _send_batch(self, node: Host, batch: Batch) -> None:
        if self._batches.get(node) is batch:
            del self._batches[node]
        task = asyncio.get_running_loop().create_task(self._answer(node, batch))
        self._sending[task] = None
        task.add_done_callback(self._sending.pop)

    async def _answer(self, node: Host, batch: Batch) -> None:
        try:
            replies = await self.ask(node, [command for command, _ in batch])
        except BaseException as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)
                    answer.exception()  # whoever asked may have gone
            if not isinstance(error, Exception):
                raise
        else:
            for (_, answer), reply in zip(batch, replies, strict=True):
                if not answer.done():
                    answer.set_result(reply)

    async def _all(self, commands: Sequence[Command], *, is_copied: bool) -> list[Reply]:
        if not commands:
            return []
        await self.fresh()
        places: dict[Host, list[int]] = {}
        for place, command in enumerate(commands):
            places.setdefault(self._slots.owner(slot_of(command)), []).append(place)
        replies: list[Reply] = [None] * len(commands)

        async def send(node: Host, group: Sequence[int]) -> None:
            sent = [commands[place] for place in group]
            copied = f"{tag_of(sent[0])}:id" if is_copied else ""
            try:
                found = await self._at(node).attempts(sent, copied=copied)
            except StoreUnavailable:
                self._slots.lose(node)
                raise
            for place, reply in zip(group, found, strict=True):
                replies[place] = await self._sent_on(commands[place], reply, Hop(node))

        # All are waited for before one that failed is told of: none goes on when its caller has left.
        ends = await asyncio.gather(
            *(send(node, group) for node, group in places.items()), return_exceptions=True
        )
        for end in ends:
            if isinstance(end, BaseException):
                raise end
        return replies

    async def _sent_on(self, command: Command, reply: Reply, hop: Hop) -> Reply:
        following = self._slots.after(reply, hop)
        return reply if following is None else await self._follow(command, first=following)


class ClusterBlockingLink:
    """One connection a node, for a thread that must not depend on the event loop."""

    def __init__(
        self, connector: ClusterConnector, slots: SlotMap, *, copying: Copying | None = None
    ) -> None:
        self._connector = connector
        self._slots = slots
        self._copying = copying
        self._links: dict[Host, BlockingLink] = {}
        self._lock = threading.Lock()
        self._is_closed = False

    def call(self, command: Command) -> Reply:
        """Sends a command to the node of its key, as `ClusterLink.call` does."""
        with self._lock:
            self._fresh()
            hop = Hop(self._slots.owner(slot_of(command)))
            for _ in range(HOPS):
                reply = self._send(hop, command)
                following = self._slots.after(reply, hop)
                if following is None:
                    break
                hop = following
            else:
                raise StoreUnavailable(_UNDECIDED)
        if isinstance(reply, Exception):
            raise exception_for(reply)
        return reply

    def is_copied(self, id_key: str) -> bool:
        """As `BlockingLink.is_copied`, of the node that has the partition."""
        if self._copying is None:
            return True
        with self._lock:
            try:
                return self._at(self._slots.owner(slot_of(("GET", id_key)))).is_copied(id_key)
            except StoreUnavailable:
                return False

    def close(self) -> None:
        """Drops the connections; calls in flight drop theirs when they end."""
        self._is_closed = True
        for link in list(self._links.values()):
            link.close()

    def _fresh(self) -> None:
        if not self._slots.is_stale:
            return
        error: StoreUnavailable | None = None
        for node in self._slots.to_ask():
            try:
                read_where(self._at(node).attempts([_WHERE])[0], node, self._slots)
                return
            except StoreUnavailable as raised:
                error = error or raised
        raise error or StoreUnavailable("no node of the Redis cluster is known")

    def _send(self, hop: Hop, command: Command) -> Reply:
        try:
            return self._at(hop.node).attempts([ASKING, command] if hop.is_asking else [command])[-1]
        except StoreUnavailable:
            self._slots.lose(hop.node)
            raise

    def _at(self, node: Host) -> BlockingLink:
        link = self._links.get(node)
        if link is None:
            if self._is_closed:
                raise StoreUnavailable("the store is closed")
            link = self._links[node] = BlockingLink(self._connector.at(node), copying=self._copying)
        return link
