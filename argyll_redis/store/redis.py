"""The store on Redis or Valkey: every change is one call of a script in `lua/`.

One method a script; `lua/README.md` and the scripts' headers say what each promises. What only
reads is in `reads.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from uuid import uuid4

import anyio

from argyll_redis.errors import InvalidInput, NamespaceEmptied, StoreUnavailable, StoreUnfit
from argyll_redis.store.answers import NoGroup, NoScript, code_of, exception_for, is_known
from argyll_redis.store.check import (
    check_alive,
    check_append,
    check_entry,
    check_expire,
    check_fetch,
    check_import,
    check_keep,
    check_partition,
    check_place,
    check_queues,
    check_reap,
)
from argyll_redis.store.connect import BlockingLink, Connector, Link, Reply, UrlConnector
from argyll_redis.store.fitness import NOT_TOLD, Finding, judge, parse_info
from argyll_redis.store.keys import GROUP, LAYOUT, MAX_PARTITIONS, Keys, fixed_types
from argyll_redis.store.protocol import (
    BLOCK_LIMIT_MS,
    CONTROL,
    CommitReply,
    Entry,
    EntryKey,
    Expired,
    Fetch,
    ImportedLog,
    Keep,
    KeepReply,
    Lease,
    NewEvent,
    RenewReply,
    Turn,
    TurnReply,
    work_stream,
)
from argyll_redis.store.reads import Reads
from argyll_redis.store.scripts import script
from argyll_redis.store.wire import (
    Argument,
    Partitions,
    pack_engine,
    pack_fetch,
    pack_log,
    pack_turns,
    unpack_engine,
    unpack_entry,
    unpack_found,
    unpack_turn,
)

OPEN_LIMIT_MS = 2_500
"""Longest time until a server that cannot be reached or used is called so."""

_PROBE = "#!lua\nreturn 1"
"""A script that does nothing, begun as ours are: a server that would refuse them refuses it."""

RENEW_LIMIT = 500
"""Leases that one script call renews at most."""

logger = logging.getLogger(__name__)


class RedisStore(Reads):
    """A namespace on a Redis or Valkey server; keeps the promises of `protocol.Store`."""

    def __init__(
        self,
        url: str,
        namespace: str,
        *,
        partitions: int = 16,
        command_connections: int = 16,
        waiting_connections: int = 16,
        connector: Connector | None = None,
    ) -> None:
        """`partitions` counts only when the namespace is created; an existing one keeps its own.

        A `connector` stands in for the URL, for servers that a URL cannot name.
        """
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise InvalidInput(f"{partitions} partitions are not possible; use 1 to {MAX_PARTITIONS}")
        connector = connector or UrlConnector(url)
        super().__init__(
            Keys(namespace),
            partitions,
            commands=Link(connector, limit=command_connections),
            waits=Link(connector, limit=waiting_connections),
        )
        self.address = connector.address
        self._renewals = BlockingLink(connector)
        self._instance = ""
        self._ids: list[str] = []

    # ------------------------------------------------------------------ open and close

    async def open(self) -> None:
        """Connects, checks that the server is fit, creates the namespace at first use.

        Opened again it only checks: what was emptied is not created anew behind somebody's back.
        """
        try:
            with anyio.fail_after(OPEN_LIMIT_MS / 1000):
                await self._refuse_unfit()
                await (self.add_queues([]) if self._instance else self._create())
        except TimeoutError:
            what = f"cannot reach redis at {self.address} (no reply in time)"
            raise StoreUnavailable(what, address=self.address) from None

    async def close(self) -> None:
        """Drops all connections."""
        await self._commands.close()
        await self._waits.close()
        self._renewals.close()

    async def findings(self) -> list[Finding]:
        """Looks at the server: what makes it unfit, and what its operator should know."""
        info = await self.info()
        if info:
            return list(judge(info))
        return [Finding(False, NOT_TOLD, "allow it to the user")]

    async def info(self) -> Mapping[str, str]:
        """Gives what the server says of itself; nothing when the user may not ask."""
        (reply,) = await self._commands.attempts([("INFO",)])
        if not isinstance(reply, Exception):
            info = parse_info(reply) if isinstance(reply, bytes) else {}
            if "redis_version" not in info:  # Valkey gives one, too
                raise StoreUnfit(f"what answers at {self.address} is not Redis (correct the URL)")
            return info
        if is_known(reply) and code_of(reply) != "NOPERM":
            raise exception_for(reply)
        return {}

    async def can_run_scripts(self) -> str:
        """Says why the server runs no script; nothing when it does."""
        (reply,) = await self._commands.attempts([("EVAL", _PROBE, 0)])
        return str(exception_for(reply)) if isinstance(reply, Exception) else ""

    async def _refuse_unfit(self) -> None:
        for finding in await self.findings():
            if finding.is_fatal:
                raise StoreUnfit(f"redis at {self.address} cannot be used: {finding}")
            logger.warning("redis at %s: %s", self.address, finding)

    async def _create(self) -> None:
        """Creates the namespace or finds it, with the partitions it has."""
        own, fixed = fixed_types(partitioned=False), fixed_types(partitioned=True)
        types = [text for pair in own + fixed for text in pair]
        for _ in range(2):  # once with our own number of partitions, once with the namespace's
            self._ids = [self._keys.id(partition) for partition in range(self.partitions)]
            keys = [self._keys.meta, *self._ids]
            arguments = [uuid4().hex, LAYOUT, len(own), len(fixed), *types]
            instance, layout, partitions = await self._run("create", keys, arguments)
            if layout != LAYOUT:
                raise StoreUnfit(
                    f"namespace {self._keys.namespace} has layout {layout}, and this version knows {LAYOUT} "
                    "(use the version of argyll that made it, or a newer one)"
                )
            if partitions == self.partitions:
                self._instance = instance.decode()
                return
            self.partitions = partitions
        raise NamespaceEmptied

    # ------------------------------------------------------------------ scripts

    async def _run(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Reply:
        """Calls a script; a server that does not have it is sent its text."""
        found = script(name)
        try:
            return await self._commands.call(("EVALSHA", found.sha, len(keys), *keys, *arguments))
        except NoScript:
            return await self._commands.call(("EVAL", found.text, len(keys), *keys, *arguments))

    def _keys_of(self, named: Partitions) -> list[str]:
        for partition in named.order:
            check_partition(partition, self.partitions)
        return [self._ids[partition] for partition in named.order]

    async def add_queues(self, queues: Sequence[str]) -> None:
        """Records queue names and creates their streams and groups in every partition."""
        check_queues(queues)
        await self._run("queues", [self._keys.queues, *self._ids], [self._instance, *queues])

    async def commit(self, turns: Sequence[Turn], fetch: Fetch | None = None) -> CommitReply:
        """Applies or refuses each turn on its own; then fetches. One script call."""
        named = Partitions()
        arguments: list[Argument] = [self._instance, len(turns)]
        if fetch is None:
            arguments += ("", 0, 0, 0)
        else:
            if not fetch.consumer:
                raise ValueError("the fetch has no consumer")
            pack_fetch(arguments, fetch, named)
        pack_turns(arguments, turns, partitions=self.partitions, named=named)
        now_ms, replies, found = await self._run("commit", self._keys_of(named), arguments)
        return CommitReply(now_ms, tuple(map(unpack_turn, replies)), unpack_found(found, named.order))

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        """Hands out waiting entries."""
        check_fetch(fetch, self.partitions)
        named = Partitions()
        arguments: list[Argument] = [self._instance]
        pack_fetch(arguments, fetch, named)
        return unpack_found(await self._run("fetch", self._keys_of(named), arguments), named.order)

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        """Waits until one of the (partition, stream) has an entry; at most one from each. At most 2 s."""
        for partition, stream in streams:
            check_place(partition, stream, self.partitions)
        if not streams:
            return ()
        wait_ms = max(1, min(block_ms, BLOCK_LIMIT_MS))
        places = {self._keys.of(*place).encode(): place for place in streams}
        head = ("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", 1, "BLOCK", wait_ms, "STREAMS")
        try:
            reply = await self._waits.call((*head, *places, *(">" for _ in places)), wait_ms=wait_ms)
        except NoGroup:
            # Somebody deleted a stream: that of an emptied namespace, or only that stream.
            await self.add_queues([stream.partition(":")[2] for _, stream in streams if ":" in stream])
            return ()
        return tuple(unpack_entry(*places[key], raw) for key, entries in reply or () for raw in entries)

    async def keep(self, keep: Keep) -> KeepReply:
        """Does one round of keeping: heartbeat, due entries, takeover, who is alive. One script call."""
        check_keep(keep, self.partitions)
        engine = keep.engine
        arguments: list[Argument] = [self._instance, engine.id if engine else "", keep.alive_ms]
        arguments += pack_engine(engine) if engine else ("", "", 0)
        arguments += (keep.due_limit, keep.min_idle_ms, keep.takeover_limit, len(keep.takeover))
        for ref, cursor in keep.takeover:
            arguments += (ref.partition + 1, ref.stream, cursor)
        reply = await self._run("keep", [self._keys.engines, *self._ids], arguments)
        now_ms, moved, next_due_ms, taken, cursors, vanished, engines = reply
        found = [unpack_engine(id, kept) for id, *kept in engines]
        return KeepReply(
            now_ms=now_ms,
            moved=moved,
            next_due_ms=None if next_due_ms < 0 else next_due_ms,
            taken=unpack_found(taken, range(self.partitions)),
            cursors=tuple(cursor.decode() for cursor in cursors),
            vanished=vanished,
            engines=tuple(sorted((engine for engine in found if engine), key=lambda engine: engine.id)),
        )

    def renew(
        self,
        consumer: str,
        leases: Sequence[Lease],
        streams: Sequence[tuple[int, str]],
        *,
        known: Sequence[EntryKey] = (),
    ) -> RenewReply:
        """Renews leases that are still this consumer's. Blocking: called from the renewer's thread.

        More than `RENEW_LIMIT` leases take more calls; the last one looks for what is unnamed.
        """
        lost: list[Lease] = []
        statuses: dict[str, str] = {}
        last = max(0, len(leases) - 1) // RENEW_LIMIT * RENEW_LIMIT
        for begin in range(0, last, RENEW_LIMIT):
            self._renew_page(consumer, leases[begin : begin + RENEW_LIMIT], (), (), lost, statuses)
        not_here = [*(lease[:3] for lease in leases[:last]), *known]
        found = self._renew_page(consumer, leases[last:], not_here, streams, lost, statuses)
        return RenewReply(tuple(lost), statuses, *found)

    def _renew_page(
        self,
        consumer: str,
        page: Sequence[Lease],
        known: Sequence[EntryKey],
        streams: Sequence[tuple[int, str]],
        lost: list[Lease],
        statuses: dict[str, str],
    ) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
        """Renews one page; adds to what is lost and to the statuses, and gives what is unnamed: what was
        delivered, and what was taken over."""
        named = Partitions()
        arguments: list[Argument] = [self._instance, consumer, len(page), len(known), len(streams)]
        for partition, stream, entry, flow in page:
            arguments += (named.number(partition), stream, entry, flow)
        for partition, stream, entry in known:
            arguments += (named.number(partition), stream, entry)
        for partition, stream in streams:
            arguments += (named.number(partition), stream)
        numbers, kept, found, taken = self._run_blocking("renew", self._keys_of(named), arguments)
        lost += (page[number - 1] for number in numbers)
        for lease, status in zip(page, kept, strict=True):
            if status is not None:
                statuses[lease.flow] = status.decode()
        return unpack_found(found, named.order), unpack_found(taken, named.order)

    def _run_blocking(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Reply:
        found = script(name)
        try:
            return self._renewals.call(("EVALSHA", found.sha, len(keys), *keys, *arguments))
        except NoScript:
            return self._renewals.call(("EVAL", found.text, len(keys), *keys, *arguments))

    async def release(self, consumer: str, entries: Sequence[Entry], delay_ms: int = 0) -> int:
        """Hands entries back under the same attempt, as due entries when delayed; gives how many."""
        named = Partitions()
        arguments: list[Argument] = [self._instance, consumer, delay_ms]
        for entry in entries:
            check_place(entry.partition, entry.stream, self.partitions)
            arguments += (named.number(entry.partition), entry.stream, entry.id)
        return await self._run("release", self._keys_of(named), arguments)

    async def bury(self, entry: Entry, reason: str) -> None:
        """Moves an entry that nobody can read to `dead`."""
        check_place(entry.partition, entry.stream, self.partitions)
        check_entry(entry.id)
        arguments = [self._instance, entry.stream, entry.id, reason]
        await self._run("bury", [self._ids[entry.partition]], arguments)

    async def retire(self, consumer: str) -> bool:
        """Ends the heartbeat of an engine and removes it from all groups where it has nothing pending."""
        streams = [CONTROL, *map(work_stream, await self.queues())]
        keys = [self._keys.engines, *self._ids]
        return await self._run("retire", keys, [self._instance, consumer, *streams]) == 1

    async def reap(self, partition: int, min_idle_ms: int) -> None:
        """Forgets consumers that have nothing pending, are no live engines, and have not read for so long."""
        check_reap(partition, self.partitions, min_idle_ms)
        streams = [CONTROL, *map(work_stream, await self.queues())]
        keys = [self._keys.engines, self._ids[partition]]
        await self._run("reap", keys, [self._instance, min_idle_ms, *streams])

    async def expire(self, partition: int, *, keep_ms: int, limit: int) -> Expired:
        """Removes the trees of a partition whose time is over, children first. One script call."""
        check_expire(partition, self.partitions, keep_ms=keep_ms, limit=limit)
        arguments = [self._instance, keep_ms, limit]
        flows, more = await self._run("expire", [self._ids[partition]], arguments)
        return Expired(flows, more == 1)

    async def tell_health(self, engine: str, found: bytes, alive_ms: int) -> None:
        """Keeps what an engine found of the health of the steps, for so long."""
        check_alive(alive_ms)
        await self._run(
            "health", [self._keys.health(engine), self._ids[0]], [self._instance, found, alive_ms]
        )

    async def memorize(self, key: str, outputs: bytes, ttl_ms: int) -> None:
        """Keeps an outcome under a key, for so long from now on. One command: nothing else hangs on it."""
        check_alive(ttl_ms)
        await self._commands.call(("SET", self._keys.memo(key), outputs, "PX", ttl_ms))

    async def import_log(self, log: ImportedLog) -> bool:
        """Writes the log of a flow that does not exist here, sealed; False when the flow exists."""
        check_import(log, self.partitions)
        arguments = [self._instance, *pack_log(log)]
        return await self._run("import", [self._ids[log.partition]], arguments) == 1

    async def append_catalog(
        self, version: int, last_tx: str, tx: str, events: Sequence[NewEvent]
    ) -> TurnReply:
        """Appends to the catalog under the same compare-and-set rule as a turn."""
        check_append(version, last_tx, tx, events)
        arguments: list[Argument] = [self._instance, version, last_tx, tx, len(events)]
        for event in events:
            arguments += event
        keys = [self._keys.meta, self._keys.catalog, self._keys.catalog_head]
        return unpack_turn(await self._run("catalog", keys, arguments))
