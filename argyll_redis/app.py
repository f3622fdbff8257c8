"""`Argyll`: every operation is a method here first; the command line and the HTTP API call it.

An app is also where python steps are declared. It connects when it is first used; its steps are
registered as one transaction when it first starts a flow or runs as an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack, get_args, overload

from argyll_redis.catalog_api import CatalogApi
from argyll_redis.config import AppConfig
from argyll_redis.connection import Connection, EngineRun
from argyll_redis.core.model import JSON, OnFailure, Script
from argyll_redis.declare import Declared, Retry, declare
from argyll_redis.doctor import Doctor
from argyll_redis.errors import InvalidInput, InvalidStep, Problem
from argyll_redis.handle import FlowHandle
from argyll_redis.health import Health
from argyll_redis.moving import Moving
from argyll_redis.outside import Outside
from argyll_redis.querying import Querying
from argyll_redis.reading import Reading
from argyll_redis.repairing import Repairing
from argyll_redis.runtime.clock import new_id
from argyll_redis.runtime.engine_config import EngineConfig
from argyll_redis.runtime.garbage import collected_seldom
from argyll_redis.runtime.node import Node
from argyll_redis.runtime.open import open_store
from argyll_redis.starting import Goals, Starter
from argyll_redis.steps.http import HttpHandler
from argyll_redis.steps.http_address import read_allow_list
from argyll_redis.steps.http_client import AiohttpClient
from argyll_redis.steps.python import PythonHandler, undo_functions
from argyll_redis.steps.skills import Skills
from argyll_redis.store.check import check_queues
from argyll_redis.store.protocol import Store
from argyll_redis.sync import SyncApp
from argyll_redis.watching import Watching

DEFAULT_URL = "redis://localhost:6379/0"
Registration = Literal["update", "strict", "sync"]
F = TypeVar("F", bound=Callable[..., Any])


class StepOptions(TypedDict, total=False):
    """What `Argyll.step` takes beside the function."""

    id: str | None
    outputs: str | Sequence[str]
    retry: Retry | None
    for_each: str | Sequence[str]
    parallelism: int | None
    permanent: type[BaseException] | Sequence[type[BaseException]]
    undo: Callable[..., Any] | str | None
    queue: str
    timeout_ms: int | None
    on_failure: OnFailure | str | None
    predicate: str | Script | Mapping[str, str] | None
    memoizable: bool
    labels: Mapping[str, str] | None


class Argyll(CatalogApi, Outside, Moving, Doctor, Repairing, Reading, Querying, Watching, Health):
    """A namespace, and the python steps that this process declares for it.

    `url` is one of `redis://`, `rediss://`, `unix://`, `redis+sentinel://`, `redis+cluster://` and
    `memory://` (this process only). `register` says what happens to declared steps that are registered
    differently: `update` changes them, `strict` refuses, `sync` also removes those that this app no longer
    declares (an app is known by the modules of its functions). An app with a `version` never overwrites the
    steps of a later one.

    An app may be used in several event loops, and again after `close`; it then connects anew.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        namespace: str = "argyll",
        *,
        register: Registration = "update",
        version: int | None = None,
        config: AppConfig | None = None,
        make_store: Callable[[], Store] | None = None,
    ) -> None:
        """`make_store` makes the stores in place of the URL, one for each connection; for tests.

        Raises `InvalidInput`.
        """
        self.url = url
        self.namespace = namespace
        self.config = config or AppConfig()
        self.client_id = new_id()
        self.declared: dict[str, Declared] = {}
        self.sync = SyncApp(self)
        self._registration = _read_registration(register)
        self._version = _read_version(version)
        self._make_store = make_store
        self._connections: dict[asyncio.AbstractEventLoop, Connection] = {}
        self._declarations = 0
        self._engine_ids = chain([self.client_id], iter(new_id, ""))
        """A name for each run: what an engine that was stopped at once has left is not the next one's."""
        self._starter = Starter(self)

    # ------------------------------------------------------------------ declare

    @overload
    def step(self, function: F, **options: Unpack[StepOptions]) -> F: ...
    @overload
    def step(self, **options: Unpack[StepOptions]) -> Callable[[F], F]: ...

    def step(
        self,
        function: Callable[..., Any] | None = None,
        *,
        id: str | None = None,
        outputs: str | Sequence[str] = (),
        retry: Retry | None = None,
        for_each: str | Sequence[str] = (),
        parallelism: int | None = None,
        permanent: type[BaseException] | Sequence[type[BaseException]] = (),
        undo: Callable[..., Any] | str | None = None,
        queue: str = "default",
        timeout_ms: int | None = None,
        on_failure: OnFailure | str | None = None,
        predicate: str | Script | Mapping[str, str] | None = None,
        memoizable: bool = False,
        labels: Mapping[str, str] | None = None,
    ) -> Callable[..., Any]:
        """Declares a function as a step. Its parameters are the inputs, required unless they have a
        default; `outputs` names what its return value provides. The function stays as it is.

        Raises `InvalidStep` naming the step, the place and the mend.
        """

        def add(function: Callable[..., Any]) -> Callable[..., Any]:
            declared = declare(
                function,
                id=id,
                outputs=outputs,
                retry=retry,
                for_each=for_each,
                parallelism=parallelism,
                permanent=permanent,
                undo=undo,
                queue=queue,
                timeout_ms=timeout_ms,
                on_failure=on_failure,
                predicate=predicate,
                memoizable=memoizable,
                labels=labels,
            )
            _refuse_twice(self.declared.get(declared.id), declared)
            self.declared[declared.id] = declared
            self._declarations += 1
            return function

        return add if function is None else add(function)

    def id_of(self, goal: Any) -> str:
        """The step id that a goal means: the id itself, or that of the function declared as a step."""
        if isinstance(goal, str):
            return goal
        for id, declared in self.declared.items():
            if declared.function == goal:  # equal, not the same: a method is made anew at each look
                return id
        name = getattr(goal, "__name__", repr(goal))
        raise InvalidInput(
            f"goals: {name} is not declared as a step of this app (use @app.step, or a step id)"
        )

    # ------------------------------------------------------------------- connect

    def reconfigure(self, *, url: str | None = None, namespace: str | None = None, **settings: Any) -> None:
        """Changes where the app connects and how it works, before it has connected; what is None stays.

        `settings` are fields of `AppConfig`, and of its `retry`. The command line does this to an app
        of yours. Raises `InvalidInput`.
        """
        if any(connection.node for connection in self._connections.values()):
            raise InvalidInput("the app is connected already (change where it connects before it is used)")
        self.config = self.config.changed(settings)
        if url is not None:
            self.url, self._make_store = url, None
        if namespace is not None:
            self.namespace = namespace

    def _connection(self) -> Connection:
        """This event loop's connection; those of loops that were closed are forgotten."""
        loop = asyncio.get_running_loop()
        found = self._connections.get(loop)
        if found is None:
            for other in [each for each in self._connections if each.is_closed()]:
                self._connections.pop(other, None)
            found = self._connections[loop] = Connection()
        return found

    async def node(self) -> Node:
        """The connected parts of this process in this event loop; connects at first use.

        Raises `StoreUnavailable`, or `StoreUnfit` for a server that cannot be used.
        """
        connection = self._connection()
        if connection.node is not None:
            return connection.node
        async with connection.lock:
            if connection.node is None:
                connection.node = await self._opened()
            return connection.node

    def make_store(self) -> Store:
        """Makes a store of the app's place, not yet open. Raises `InvalidInput`."""
        if self._make_store:
            return self._make_store()
        return open_store(self.url, self.namespace, copies=self.config.copies)

    async def _opened(self) -> Node:
        store = self.make_store()
        # A name of its own: transactions are told apart by it, and another node counts from 1, too.
        node = Node(
            store,
            new_id(),
            memo_ttl_ms=self.config.memo_ttl_ms,
            retention_ms=self.config.retention_ms,
        )
        try:
            await node.open()
        except BaseException:
            await store.close()
            raise
        return node

    async def close(self) -> None:
        """Lets an engine drain, commits what is on its way and disconnects, all in this event loop."""
        connection = self._connections.get(asyncio.get_running_loop())
        if connection is None:
            return
        if connection.engine is not None:
            connection.engine.stop.set()
            await connection.engine.ended.wait()
        self._connections.pop(asyncio.get_running_loop(), None)
        if connection.node is not None:
            await connection.node.close()

    async def __aenter__(self) -> Self:
        await self.node()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    def by(self, origin: str) -> str:
        """The origin and this process's name, as events record who caused them."""
        return f"{origin}:{self.client_id}"

    async def register_declared(self) -> None:
        """Registers the declared steps that the catalog does not have yet, as one transaction."""
        connection = self._connection()
        if connection.registered == self._declarations:
            return
        await self.node()
        async with connection.lock:
            declarations = self._declarations
            if connection.registered < declarations:
                await self.register_app(self.declared, mode=self._registration, app_version=self._version)
                connection.registered = declarations

    # --------------------------------------------------------------------- start

    async def start(
        self,
        goals: Goals,
        init: Mapping[str, Any] | None = None,
        *,
        id: str | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, JSON] | None = None,
        compensate: str | None = None,
        timeout_ms: int | None = None,
    ) -> FlowHandle:
        """Plans and starts a flow. In `init` each value is one value of its attribute; `Values(a, b)`
        gives several. The same start again, by id, is a success that does nothing.

        Raises `NoGoals`, `UnknownGoal`, `MissingInputs`, `InvalidInput`, or `FlowConflict` for an id
        that was started with something else.
        """
        request = {
            "goals": goals,
            "init": init,
            "id": id,
            "labels": labels,
            "metadata": metadata,
            "compensate": compensate,
            "timeout_ms": timeout_ms,
        }
        [started] = await self.start_many([request])
        if isinstance(started, BaseException):
            raise started
        return started

    async def start_many(self, requests: Iterable[Mapping[str, Any]]) -> list[FlowHandle | Exception]:
        """Starts many flows in few round trips: mappings with the arguments of `start`. Gives flows in
        the same order, a refused one as its exception in its place."""
        await self.register_declared()
        return await self._starter.start_many(list(requests))

    def flow(self, id: str) -> FlowHandle:
        """A flow that exists, by id."""
        return FlowHandle(self, id)

    # ---------------------------------------------------------------------- run

    async def run(
        self,
        *,
        concurrency: int = 100,
        queues: str | Sequence[str] | None = None,
        until: Callable[[], Awaitable[object]] | None = None,
        on_ready: Callable[..., None] | None = None,
    ) -> None:
        """Makes this process an engine until `until` returns or the app is closed, then drains.

        It serves `builtin` and the queues of its declared steps, or just those of `queues` and
        `builtin`. Cancelling stops it at once: what ran is taken over by others. Raises
        `InvalidInput`, `StoreUnavailable` when the server cannot be reached at first.
        """
        if not isinstance(concurrency, int) or concurrency < 1:
            raise InvalidInput(f"concurrency is {concurrency!r}, use a whole number of at least 1")
        served = self._served(queues)
        node = await self.node()
        connection = self._connection()
        if connection.engine is not None:
            raise InvalidInput("the app is an engine already (raise its concurrency, or use another app)")
        run = connection.engine = EngineRun()
        try:
            await self.register_declared()
            await self._run(node, concurrency, served, lambda: run.until(until or _for_ever), on_ready)
        finally:
            connection.engine = None
            run.ended.set()

    def _served(self, queues: str | Sequence[str] | None) -> tuple[str, ...]:
        if queues is None:
            queues = [declared.queue for declared in self.declared.values()]
        named = {queues} if isinstance(queues, str) else set(queues)
        try:
            check_queues(sorted(named))
        except ValueError as error:
            raise InvalidInput(f"queues: {error}") from None
        return ("builtin", *sorted(named - {"builtin"}))

    async def _run(
        self,
        node: Node,
        concurrency: int,
        served: tuple[str, ...],
        until: Callable[[], Awaitable[object]],
        on_ready: Callable[..., None] | None,
    ) -> None:
        client = AiohttpClient(read_allow_list(self.config.http_allow))
        base_url = self.config.webhook_base_url
        http = HttpHandler(client, webhook_base_url=base_url, now_ms=node.clock.now_ms)
        python = PythonHandler(self.declared, concurrency)
        skills = Skills(node.evaluator, concurrency, python=python, http=http)
        able = undo_functions({id: each for id, each in self.declared.items() if each.queue in served})
        config = EngineConfig(
            id=next(self._engine_ids),
            queues=served,
            handlers=tuple(sorted(able)),
            types=http.types,
            concurrency=concurrency,
            lease_ms=self.config.lease_ms,
            grace_ms=self.config.grace_ms,
            webhook_base_url=base_url,
        )
        probe = http.probe if http.types else None
        async with client, self.looking(config.id, probe):
            with collected_seldom():
                await node.run_engine(
                    config,
                    skills.handlers,
                    can_do=skills.can_do,
                    can_undo=skills.can_undo,
                    until=until,
                    on_ready=on_ready,
                )


async def _for_ever() -> None:
    await asyncio.Event().wait()


# --------------------------------------------------------------------- reading


def _read_registration(given: Registration) -> Registration:
    if given not in get_args(Registration):
        listed = ", ".join(get_args(Registration))
        raise InvalidInput(problems=[Problem("register", f"is {given!r}", f"use one of {listed}")])
    return given


def _read_version(given: int | None) -> int | None:
    if given is None or (type(given) is int and given >= 0):
        return given
    raise InvalidInput(problems=[Problem("version", f"is {given!r:.40}", "use a whole number of at least 0")])


def _refuse_twice(known: Declared | None, declared: Declared) -> None:
    """Refuses another function under an id that one has; the same one declared again, as a notebook
    does, replaces it."""
    if known is None or _place(known) == _place(declared):
        return
    listed = " and ".join(".".join(_place(each)) for each in (known, declared))
    problem = Problem("id", f"{listed} are both declared under it", "give one of them another id with id=")
    raise InvalidStep(f'step "{declared.id}"', problems=[problem])


def _place(declared: Declared) -> tuple[str, str]:
    function = declared.function
    return (function.__module__, getattr(function, "__qualname__", repr(function)))
