"""What the store on a cluster has to do with nodes and slots: connections, scripts, a look at all of them,
and the namespace's creation, slot by slot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from argyll_redis.errors import NamespaceEmptied, StoreUnavailable
from argyll_redis.store.answers import code_of, exception_for
from argyll_redis.store.calls import Links
from argyll_redis.store.cluster_clock import NodeClocks
from argyll_redis.store.cluster_fitness import findings_of, worst_of
from argyll_redis.store.cluster_link import ASKING, ClusterBlockingLink, ClusterConnector, ClusterLink
from argyll_redis.store.cluster_parts import nothing_of, together
from argyll_redis.store.cluster_slots import SlotMap, slot_of_key
from argyll_redis.store.connect import Command, Connector, Reply
from argyll_redis.store.fitness import Finding
from argyll_redis.store.permissions import LOOKED, TRIED, missing, questions
from argyll_redis.store.redis import PROBE, RedisStore, new_instance
from argyll_redis.store.url import Host, named
from argyll_redis.store.wire import Argument

KEYS_TRIED = 1_000
"""Names among which one is looked for that is on a given node."""

CREATE_TRIES = 4
"""Looks at a namespace that others create at the same time."""


class OnNodes(RedisStore):
    """A store whose partitions are on several nodes. Each call still has to name keys of one slot."""

    _slots: SlotMap
    _nodes: ClusterLink
    _clocks: NodeClocks

    def _links(self, connector: Connector | None, url: str, *, commands: int, waits: int) -> Links:
        given = connector if isinstance(connector, ClusterConnector) else ClusterConnector(url)
        slots = self._slots = SlotMap(given.seeds)
        self._clocks = NodeClocks()
        self._nodes = ClusterLink(given, slots, limit=commands, copying=self._copying)
        return Links(
            given.address,
            self._nodes,
            ClusterLink(given, slots, limit=waits, copying=self._copying),
            ClusterBlockingLink(given, slots, copying=self._copying),
        )

    # ------------------------------------------------------------------ open and close

    async def findings(self) -> list[Finding]:
        """Looks at all masters: what makes one of them unfit makes the cluster so."""
        return findings_of(await self._infos())

    async def info(self) -> Mapping[str, str]:
        """Gives what the node says of itself that has the most to be said of."""
        return worst_of(await self._infos())

    async def can_run_scripts(self) -> str:
        """Says why a node runs no script; nothing when all do."""
        for node, (reply,) in (await self._on_each([("EVAL", PROBE, 0)])).items():
            if isinstance(reply, Exception):
                return f"{named(node)}: {exception_for(reply)}"
        return ""

    async def missing_rights(self, *, to_look: bool = False) -> tuple[str, ...]:
        """Names what the user lacks at any node: each has users of its own. Among it is what only a slot that
        moves asks for."""
        tried = TRIED + LOOKED if to_look else TRIED
        await self._nodes.fresh()
        replies = await together(
            [
                self._nodes.ask(node, [ASKING, *questions(self._key_at(node), self._keys.meta, tried)])
                for node in self._slots.nodes
            ]
        )
        lacking: dict[str, None] = {}
        for asking, *answers in replies:
            if isinstance(asking, Exception) and code_of(asking) == "NOPERM":
                lacking["+asking"] = None
            lacking |= dict.fromkeys(missing(answers, tried))
        return tuple(lacking)

    def _key_at(self, node: Host) -> str:
        """A key of the namespace that is not there and that would be on a node. One that has hardly any slots
        may be passed over: it says where the key is, and is not judged."""
        keys = (self._keys.memo(f"none-{number}") for number in range(KEYS_TRIED))
        return next(
            (key for key in keys if self._slots.is_at(slot_of_key(key), node)), self._keys.of(0, "none")
        )

    async def now_ms(self) -> int:
        """Gives the clock of the slowest node."""
        times: list[int] = []
        for node, (reply,) in (await self._on_each([("TIME",)])).items():
            if isinstance(reply, Exception):
                raise exception_for(reply)
            times.append(int(reply[0]) * 1000 + int(reply[1]) // 1000)
            self._clocks.read(node, times[-1])
        return min(times)

    async def _infos(self) -> dict[str, Mapping[str, str]]:
        """What each node says of itself, by its address; nothing of those that may not be asked."""
        replies = await self._on_each([("INFO",)])
        infos: dict[str, Mapping[str, str]] = {}
        for node, (reply,) in replies.items():
            found = self._info_of(reply)
            infos[named(node)] = {**found, "cluster_masters": str(len(replies))} if found else {}
        return infos

    async def _on_all(self, commands: Sequence[Command]) -> list[Reply]:
        return [reply for replies in (await self._on_each(commands)).values() for reply in replies]

    async def _on_each(self, commands: Sequence[Command]) -> dict[Host, list[Reply]]:
        """Sends commands to every master."""
        await self._nodes.fresh()
        nodes = self._slots.nodes
        replies = await together([self._nodes.ask(node, commands) for node in nodes])
        return dict(zip(nodes, replies, strict=True))

    async def _create(self) -> None:
        """Creates the namespace or finds it, slot by slot, in the order that create.lua asks for."""
        emptied = NamespaceEmptied()
        for _ in range(CREATE_TRIES):
            self._ids = [self._keys.id(partition) for partition in range(self.partitions)]
            try:
                instance, layout, partitions, ready = await self._create_meta(new_instance(), "look")
                if not self._fits(layout, partitions):
                    continue
                if ready < 0:
                    await self._create_partitions(instance.decode(), "look")
                    instance, layout, partitions, ready = await self._create_meta(instance.decode(), "begun")
                    if not self._fits(layout, partitions):
                        continue
            except NamespaceEmptied as error:
                emptied = (
                    error  # or somebody created it between two of these calls: then the next look finds it
                )
                continue
            await self._create_partitions(instance.decode(), "ready" if ready > 0 else "begun")
            await self._create_meta(instance.decode(), "ready")
            self._opened(instance.decode())
            return
        raise emptied

    async def _create_meta(self, instance: str, state: str) -> Reply:
        return await self._run("create", [self._keys.meta], self._creation(instance, state))

    async def _create_partitions(self, instance: str, state: str) -> None:
        arguments = self._creation(instance, state)
        await together([self._run("create", [id], arguments) for id in self._ids])

    # ------------------------------------------------------------------ scripts

    async def _run(
        self, name: str, keys: Sequence[str], arguments: Sequence[Argument], *, copied: str = ""
    ) -> Reply:
        """Calls a script with keys of one slot, and with one that is never there (see lib/partitions.lua)."""
        copied = keys[0] if copied else ""  # has the id, be it of a partition or of the namespace
        return await super()._run(name, [*keys, nothing_of(keys)], arguments, copied=copied)

    def _run_blocking(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Reply:
        return super()._run_blocking(name, [*keys, nothing_of(keys)], arguments)

    def _read_clock(self, partition: int, now_ms: int) -> None:
        """Takes a reading from the reply of a partition."""
        node = self._owner(partition)
        if node is not None:
            self._clocks.read(node, now_ms)

    def _owner(self, partition: int) -> Host | None:
        """The node that has a partition, as far as it is known."""
        try:
            return self._slots.owner(slot_of_key(self._ids[partition]))
        except StoreUnavailable:
            return None

    async def _scan(self, cursor: str, pattern: str, limit: int) -> tuple[str, list[bytes]]:
        """Walks a node after the other."""
        await self._nodes.fresh()
        at, _, own = cursor.rpartition(".")
        place = int(at or 0)
        nodes = self._slots.nodes
        if place >= len(nodes):
            return "0", []  # the cluster has shrunk meanwhile
        (reply,) = await self._nodes.ask(nodes[place], [("SCAN", own, "MATCH", pattern, "COUNT", limit)])
        if isinstance(reply, Exception):
            raise exception_for(reply)
        following = reply[0].decode()
        if following != "0":
            return f"{place}.{following}", reply[1]
        return (f"{place + 1}.0" if place + 1 < len(nodes) else "0"), reply[1]
