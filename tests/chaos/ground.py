"""Where a gate takes place: a Redis, engines, a service, a client and their journals, in one directory.

A gate opens a `Ground`, starts flows, strikes, waits until everything is drained, and has it judged. All
processes end with it.
"""

from __future__ import annotations

import asyncio
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from argyll_redis import AppConfig, Argyll
from tests.chaos.cluster_process import ClusterProcess
from tests.chaos.engines import EngineOptions, Engines, copied_tree, pids
from tests.chaos.journals import Journal
from tests.chaos.judge import Logs, drained, judge, what_is_open
from tests.chaos.load import Load
from tests.chaos.proxy import Proxy
from tests.chaos.redis_process import RedisProcess
from tests.chaos.report import Report
from tests.chaos.service_process import ServiceProcess
from tests.chaos.shapes import SHAPES, Shape, definitions, mixed, request
from tests.chaos.watchers import Watchers

NAMESPACE = "chaos"
RSS = re.compile(r"VmRSS:\s+(\d+) kB")
CLOSE_LIMIT_S = 5
SHORT_ENGINES = 3
"""Of short forms: an engine's start is what costs most of their time."""
DRAIN_LIMIT_S = 90
"""Longest from the last fault to an empty namespace."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a gate is run with."""

    seed: int
    flows: int
    is_short: bool = False
    """Whether it is the short form that CI runs."""
    keep: bool = False
    """Whether the directory of the run stays."""
    revision: str = "HEAD~1"
    """The other version, of the gate that mixes two."""


class Ground:
    """A run's servers, engines, client and journals: `async with Ground(...) as ground`."""

    def __init__(
        self,
        report: Report,
        asked: Asked,
        *,
        engines: int = 4,
        options: EngineOptions | None = None,
        fsync: str = "everysec",
        make_redis: Callable[[Path], RedisProcess | ClusterProcess] | None = None,
        is_proxied: bool = False,
        is_watched: bool = True,
        other_tree: Callable[[Path], Path] | None = None,
    ) -> None:
        """With `other_tree` every second engine runs what it puts into a directory. `make_redis` makes
        something else than one server there."""
        self.report = report
        self.asked = asked
        self.random = random.Random(asked.seed)
        self.options = options or EngineOptions()
        self.directory = Path(tempfile.mkdtemp(prefix="argyll-chaos-"))
        self.journals = self.directory / "journals"
        self.journals.mkdir()
        self.redis: RedisProcess | ClusterProcess = (
            make_redis(self.directory) if make_redis else RedisProcess(self.directory, fsync=fsync)
        )
        self.engines = Engines(self.directory, self.journals, NAMESPACE, self.options)
        self.wanted: dict[str, tuple[int, Shape]] = {}
        """Number and shape of the flows that were asked for."""
        self._count = min(engines, SHORT_ENGINES) if asked.is_short else engines
        self._other_tree = other_tree
        self.proxies: list[Proxy] = []
        """Between Redis and each engine, and the client last; none when nothing lies between."""
        self._is_proxied = is_proxied
        self._is_watched = is_watched
        self._watchers: Watchers | None = None
        self._service: ServiceProcess | None = None
        self._journal = Journal(self.journals / "answers-client.jsonl")
        self._app: Argyll | None = None
        self._load: Load | None = None

    # ---------------------------------------------------------------- open, close

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._close()

    async def _open(self) -> None:
        await self.redis.start()
        self.report.versions["server"] = await self.redis.version()
        tree = copied_tree(self.directory)
        other = self._other_tree(self.directory / "other") if self._other_tree else tree
        for number in range(self._count):
            self.engines.add(await self._way_to_redis(), tree=other if number % 2 else tree)
        bases = [slot.base for slot in self.engines.slots]
        self._service = ServiceProcess(self.directory, self.journals, seed=self.asked.seed, bases=bases)
        await self._service.start()
        config = AppConfig(lease_ms=self.options.lease_ms)
        self._app = Argyll(await self._way_to_redis(), NAMESPACE, config=config)
        self._load = Load(self._app, self._journal)
        if self._is_watched:
            self._watchers = Watchers(self._app, self._journal, random.Random(self.asked.seed))
        await self.engines.start_all()
        await self._app.register_steps(definitions(self._service.url))

    async def _close(self) -> None:
        if self._watchers is not None:
            self._watchers.close()
        self.engines.thaw_all()
        self.engines.close()
        if self._service is not None:
            self._service.child.kill()
        if self._app is not None:
            with suppress(Exception):  # the server may be gone for good
                await asyncio.wait_for(self._app.close(), CLOSE_LIMIT_S)
        for proxy in self.proxies:
            await proxy.close()
        await self.redis.close()
        self._journal.close()
        if self.asked.keep:
            self.report.figure("directory", str(self.directory))
        else:
            shutil.rmtree(self.directory, ignore_errors=True)

    async def _way_to_redis(self) -> str:
        """Where one process finds the server: it, or a proxy of the process's own before it."""
        if not self._is_proxied:
            return self.redis.url
        proxy = Proxy(self.connect)
        await proxy.open()
        self.proxies.append(proxy)
        return proxy.url

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connects a proxy to the server that is to be asked now."""
        return await asyncio.open_unix_connection(str(self.server.socket))

    @property
    def server(self) -> RedisProcess:
        """The one server, where it is no cluster."""
        assert isinstance(self.redis, RedisProcess)
        return self.redis

    @property
    def app(self) -> Argyll:
        assert self._app is not None
        return self._app

    @property
    def load(self) -> Load:
        assert self._load is not None
        return self._load

    # ----------------------------------------------------------------------- flows

    async def start(self, flows: Sequence[tuple[str, int, Shape]], *, per_s: float) -> None:
        """Starts flows at a pace, until all are answered. Raises `GaveUp`."""
        for flow, number, shape in flows:
            self.wanted[flow] = (number, shape)
        if self._watchers is not None:
            self._watchers.watch([flow for flow, _, _ in flows])
        try:
            await self.load.run([request(*each) for each in flows], per_s=per_s)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None

    def more_flows(self, count: int) -> list[tuple[str, int, Shape]]:
        """So many flows beside those that were asked for before, of all shapes."""
        first = len(self.wanted)
        return mixed(first + count)[first:]

    async def load_while(
        self,
        per_s: float,
        strike: Callable[[], Coroutine[Any, Any, None]],
        shapes: tuple[Shape, ...] = SHAPES,
    ) -> None:
        """Starts all flows at a pace while faults strike; returns when both are over."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.start(mixed(self.asked.flows, shapes), per_s=per_s))
            group.create_task(strike())

    async def finish(self, *, limit_s: float = DRAIN_LIMIT_S, forgiven: Sequence[str] = ()) -> Logs | None:
        """Waits until everything is drained, then judges. None when it does not drain.

        `forgiven` are words of engines' complaints that the gate itself has brought about.
        """
        self.engines.thaw_all()
        took_s = await drained(self.redis.client, NAMESPACE, limit_s=limit_s)
        if took_s is None:
            self.report.wrong += await what_is_open(self.app, self.redis.client, NAMESPACE)
            return None
        self.report.figure("last fault to drained, s", took_s)
        await self._end_watching()
        acknowledged = {flow: self.wanted[flow] for flow in self.load.acknowledged}
        logs = await judge(
            self.report,
            self.app,
            self.redis.client,
            NAMESPACE,
            self.journals,
            expected=acknowledged,
            engines=self.engines,
            asked=self.wanted,
        )
        self._look_at_engines()
        refused = self.load.refused.items()
        self.report.wrong += [f"start of {flow} was refused: {why}" for flow, why in refused]
        complaints = self.engines.complaints()
        self.report.wrong += [c for c in complaints if not any(words in c for words in forgiven)]
        self.report.wrong += self.engines.ended
        return logs

    async def _end_watching(self) -> None:
        """Lets those who look on come to the end of what they follow."""
        if self._watchers is None:
            return
        late = await self._watchers.ended()
        anew = self._watchers.begun_anew
        self.report.figure("flows followed", f"{self._watchers.followed}, {anew} times begun anew")
        self.report.require(not late, f"followers did not get to the end of {late[:5]}")

    def _look_at_engines(self) -> None:
        """How large the engines are when all is over."""
        running = [Path("/proc", str(pid)) for pid in pids(self.engines.slots)]
        memory_kb = [int(found[1]) for place in running if (found := RSS.search(_text(place / "status")))]
        if memory_kb:
            self.report.figure("largest engine, MB", max(memory_kb) // 1_024)
            self.report.figure("most files open in one", max(len(_names(place / "fd")) for place in running))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _names(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError:
        return []
