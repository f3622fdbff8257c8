"""The store on Redis or Valkey: every change is one call of a script in `lua/`.

One method a script; `lua/README.md` and the scripts' headers say what each promises. What only
reads is in `reads.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

import anyio

from argyll_redis.errors import InvalidInput, NamespaceEmptied, StoreUnavailable, StoreUnfit
from argyll_redis.store.answers import NoGroup, NoScript, code_of, exception_for, is_known
from argyll_redis.store.calls import Links
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
    check_repair,
)
from argyll_redis.store.connect import BlockingLink, Command, Connector, Link, Reply
from argyll_redis.store.connector import connector_of
from argyll_redis.store.copies import Copies, Copying, refuse_unable
from argyll_redis.store.fitness import NOT_TOLD, Finding, judge, parse_info
from argyll_redis.store.keys import GROUP, LAYOUT, MAX_PARTITIONS, Keys, fixed_types
from argyll_redis.store.looks import Looks
from argyll_redis.store.mending import Repair
from argyll_redis.store.permissions import LOOKED, TRIED, asked_for, missing, questions
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
    pack_repair,
    pack_turns,
    text,
    unpack_engine,
    unpack_entry,
    unpack_found,
    unpack_turn,
)

OPEN_LIMIT_MS = 2_500
"""Longest time until a server that cannot be reached or used is called so."""

PROBE = "#!lua\nreturn 1"
"""A script that does nothing, begun as ours are: a server that would refuse them refuses it."""

RENEW_LIMIT = 500
"""Leases that one script call renews at most."""

logger = logging.getLogger(__name__)


def new_instance() -> str:
    """Names a namespace as no other one is."""
    return uuid4().hex


class RedisStore(Reads, Looks):
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
        copies: Copies | None = None,
    ) -> None:
        """`partitions` counts only when the namespace is created; an existing one keeps its own.

        A `connector` stands in for the URL, for servers that a URL cannot name. `copies` is what has to be
        there before a commit is answered, or work is handed out.
        """
        if not 1 <= partitions <= MAX_PARTITIONS:
            raise InvalidInput(f"{partitions} partitions are not possible; use 1 to {MAX_PARTITIONS}")
        self._copying = Copying(copies) if copies else None
        links = self._links(connector, url, commands=command_connections, waits=waiting_connections)
        super().__init__(Keys(namespace), partitions, commands=links.commands, waits=links.waits)
        self.address = links.address
        self.namespace = namespace
        self._renewals = links.renewals
        self._instance = ""
        self._ids: list[str] = []

    def _links(self, connector: Connector | None, url: str, *, commands: int, waits: int) -> Links:
        """Makes the connections of the store, at most so many; none connects yet."""
        connector, copying = connector or connector_of(url), self._copying
        return Links(
            connector.address,
            Link(connector, limit=commands, copying=copying),
            Link(connector, limit=waits, copying=copying),
            BlockingLink(connector, copying=copying),
        )

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
        return self._info_of(reply)

    def _info_of(self, reply: Reply) -> Mapping[str, str]:
        """Reads the reply of `INFO`; nothing of one that refuses it."""
        if not isinstance(reply, Exception):
            info = parse_info(reply) if isinstance(reply, bytes) else {}
            if "redis_version" not in info:  # Valkey gives one, too
                raise StoreUnfit(f"what answers at {self.address} is not Redis (correct the URL)")
            return info
        if is_known(reply) and code_of(reply) not in ("NOPERM", "unknown command"):
            raise exception_for(reply)
        return {}

    async def can_run_scripts(self) -> str:
        """Says why the server runs no script; nothing when it does."""
        (reply,) = await self._commands.attempts([("EVAL", PROBE, 0)])
        return str(exception_for(reply)) if isinstance(reply, Exception) else ""

    async def missing_rights(self, *, to_look: bool = False) -> tuple[str, ...]:
        """Names what the user lacks; with `to_look` also what only an audit, a repair and the doctor need."""
        tried = TRIED + LOOKED if to_look else TRIED
        calls = questions(self._keys.of(0, "none"), self._keys.meta, tried)
        return missing(await self._commands.attempts(calls), tried)

    async def _refuse_unfit(self) -> None:
        for finding in await self.findings():
            if finding.is_fatal:
                raise StoreUnfit(f"redis at {self.address} cannot be used: {finding}")
            logger.warning("redis at %s: %s", self.address, finding)
        if lacking := await self.missing_rights():
            raise StoreUnfit(f"redis at {self.address} cannot be used: {asked_for(lacking, self.namespace)}")
        if self._copying is not None:
            refuse_unable(await self._on_all(self._copying.probes()))

    async def _on_all(self, commands: Sequence[Command]) -> list[Reply]:
        """The replies of every server to commands that name no key."""
        return await self._commands.attempts(commands)

    async def _create(self) -> None:
        """Creates the namespace or finds it, with the partitions it has."""
        for _ in range(2):  # once with our own number of partitions, once with the namespace's
            self._ids = [self._keys.id(partition) for partition in range(self.partitions)]
            keys = [self._keys.meta, *self._ids]
            instance, layout, partitions, _ = await self._run("create", keys, self._creation(new_instance()))
            if self._fits(layout, partitions):
                self._opened(instance.decode())
                return
        raise NamespaceEmptied

    def _creation(self, instance: str, state: str = "") -> list[Argument]:
        """The arguments of create.lua; with a state for one of its keys alone."""
        own, fixed = fixed_types(partitioned=False), fixed_types(partitioned=True)
        types = [text for pair in own + fixed for text in pair]
        return [instance, LAYOUT, self.partitions, state, len(own), len(fixed), *types]

    def _fits(self, layout: int, partitions: int) -> bool:
        """Whether a namespace has as many partitions as were expected; from now on those that it has are."""
        if layout != LAYOUT:
            raise StoreUnfit(
                f"namespace {self._keys.namespace} has layout {layout}, and this version knows {LAYOUT} "
                "(use the version of argyll that made it, or a newer one)"
            )
        fits = partitions == self.partitions
        self.partitions = partitions
        return fits

    def _opened(self, instance: str) -> None:
        self._instance = instance
        if self._copying is not None:
            self._copying.instance = instance

    # ------------------------------------------------------------------ scripts

    async def _run(
        self, name: str, keys: Sequence[str], arguments: Sequence[Argument], *, copied: str = ""
    ) -> Reply:
        """Calls a script; a server that does not have it is sent its text. `copied` as in `Link.call`."""
        found = script(name)
        call = self._commands.call
        try:
            return await call(("EVALSHA", found.sha, len(keys), *keys, *arguments), copied=copied)
        except NoScript:
            return await call(("EVAL", found.text, len(keys), *keys, *arguments), copied=copied)

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
        if self._copying is not None and self._copying.is_behind:
            fetch = None  # what nobody could record is not taken
        named = Partitions()
        arguments: list[Argument] = [self._instance, len(turns)]
        if fetch is None:
            arguments += ("", 0, 0, 0)
        else:
            if not fetch.consumer:
                raise ValueError("the fetch has no consumer")
            pack_fetch(arguments, fetch, named)
        pack_turns(arguments, turns, partitions=self.partitions, named=named)
        keys = self._keys_of(named)
        copied = keys[0] if keys else self._ids[0]
        now_ms, replies, found = await self._run("commit", keys, arguments, copied=copied)
        return CommitReply(now_ms, tuple(map(unpack_turn, replies)), unpack_found(found, named.order))

    async def fetch(self, fetch: Fetch) -> tuple[Entry, ...]:
        """Hands out waiting entries."""
        check_fetch(fetch, self.partitions)
        named = Partitions()
        arguments: list[Argument] = [self._instance]
        pack_fetch(arguments, fetch, named)
        keys = self._keys_of(named)
        # Control entries lead to commits, which wait for their own copies; a look takes nothing.
        copied = (keys[0] if keys else self._ids[0]) if fetch.slots else ""
        if copied:
            await self._commands.refuse_behind(copied)
        found = await self._run("fetch", keys, arguments, copied=copied)
        return unpack_found(found, named.order)

    async def block(
        self, consumer: str, streams: Sequence[tuple[int, str]], block_ms: int
    ) -> tuple[Entry, ...]:
        """Waits until one of the (partition, stream) has an entry; at most one from each. At most 2 s."""
        for partition, stream in streams:
            check_place(partition, stream, self.partitions)
        if not streams:
            return ()
        # What a control entry leads to is a commit, which waits for its own copies.
        copied = next((self._ids[place] for place, stream in streams if stream != CONTROL), "")
        if copied:
            await self._waits.refuse_behind(copied)
        wait_ms = max(1, min(block_ms, BLOCK_LIMIT_MS))
        places = {self._keys.of(*place).encode(): place for place in streams}
        head = ("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", 1, "BLOCK", wait_ms, "STREAMS")
        try:
            command = (*head, *places, *(">" for _ in places))
            reply = await self._waits.call(command, wait_ms=wait_ms, copied=copied)
        except NoGroup:
            # Somebody deleted a stream: that of an emptied namespace, or only that stream.
            await self.add_queues([stream.partition(":")[2] for _, stream in streams if ":" in stream])
            return ()
        return tuple(unpack_entry(*places[key], raw) for key, entries in reply or () for raw in entries)

    def on_late(self, consumer: str, take: Callable[[Entry], None]) -> None:
        """Nothing comes late: a call has one reply, or none."""

    async def keep(self, keep: Keep) -> KeepReply:
        """Does one round of keeping: heartbeat, due entries, takeover, who is alive. One script call."""
        check_keep(keep, self.partitions)
        return await self._keep(keep, [self._keys.engines, *self._ids], range(self.partitions))

    async def _keep(self, keep: Keep, keys: Sequence[str], partitions: Sequence[int]) -> KeepReply:
        """Calls the script with keys of these partitions, in their order."""
        numbers = {partition: number for number, partition in enumerate(partitions, 1)}
        engine = keep.engine
        arguments: list[Argument] = [self._instance, engine.id if engine else "", keep.alive_ms]
        arguments += pack_engine(engine) if engine else ("", "", 0, "")
        arguments += (keep.due_limit, keep.min_idle_ms, keep.takeover_limit, len(keep.takeover))
        for ref, cursor in keep.takeover:
            arguments += (numbers[ref.partition], ref.stream, cursor)
        reply = await self._run("keep", keys, arguments)
        now_ms, moved, next_due_ms, taken, cursors, vanished, engines = reply
        found = [unpack_engine(id, kept) for id, *kept in engines]
        return KeepReply(
            now_ms=now_ms,
            moved=moved,
            next_due_ms=None if next_due_ms < 0 else next_due_ms,
            taken=unpack_found(taken, partitions),
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
        if found[0] and not self._renewals.is_copied(self._ids[streams[0][0]]):
            found = ((), ())  # the leases count, what is unnamed is found again at the next renewal
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
                statuses[lease.flow] = text(status)
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
        live = [engine.id for engine in await self.engines()]
        streams = [CONTROL, *map(work_stream, await self.queues())]
        arguments = [self._instance, min_idle_ms, len(live), *live, *streams]
        await self._run("reap", [self._ids[partition]], arguments)

    async def expire(self, partition: int, *, keep_ms: int, limit: int) -> Expired:
        """Removes the trees of a partition whose time is over, children first. One script call."""
        check_expire(partition, self.partitions, keep_ms=keep_ms, limit=limit)
        arguments = [self._instance, keep_ms, limit]
        flows, more = await self._run("expire", [self._ids[partition]], arguments)
        return Expired(flows, more == 1)

    async def tell_health(self, engine: str, found: bytes, alive_ms: int) -> None:
        """Keeps what an engine found of the health of the steps, for so long."""
        check_alive(alive_ms)
        keys = [self._keys.health(engine), self._keys.meta]
        await self._run("health", keys, [self._instance, found, alive_ms])

    async def memorize(self, key: str, outputs: bytes, ttl_ms: int) -> None:
        """Keeps an outcome under a key, for so long from now on. One command: nothing else hangs on it."""
        check_alive(ttl_ms)
        await self._commands.call(("SET", self._keys.memo(key), outputs, "PX", ttl_ms))

    async def import_log(self, log: ImportedLog) -> bool:
        """Writes the log of a flow that does not exist here, sealed; False when the flow exists."""
        check_import(log, self.partitions)
        arguments = [self._instance, *pack_log(log)]
        keys = [self._ids[log.partition]]
        return await self._run("import", keys, arguments, copied=keys[0]) == 1

    async def repair(self, repair: Repair) -> bool:
        """Puts something right, or nothing when the log has gone on meanwhile: False. One script call."""
        check_repair(repair, self.partitions)
        arguments = [self._instance, *pack_repair(repair)]
        return await self._run("repair", [self._ids[repair.partition]], arguments) == 1

    async def append_catalog(
        self, version: int, last_tx: str, tx: str, events: Sequence[NewEvent]
    ) -> TurnReply:
        """Appends to the catalog under the same compare-and-set rule as a turn."""
        check_append(version, last_tx, tx, events)
        arguments: list[Argument] = [self._instance, version, last_tx, tx, len(events)]
        for event in events:
            arguments += event
        keys = [self._keys.meta, self._keys.catalog, self._keys.catalog_head]
        return unpack_turn(await self._run("catalog", keys, arguments, copied=self._ids[0]))
