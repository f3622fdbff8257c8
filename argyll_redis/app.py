"""`Argyll`: every operation is a method here first; the command line and the HTTP API call it.

An app is also where python steps are declared. It connects when it is first used; its steps are
registered as one transaction when it first starts a flow or runs as an engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from typing import Any, Literal, Self, TypedDict, TypeVar, Unpack, get_args, overload

from argyll_redis.catalog_api import CatalogApi
from argyll_redis.core.commands import Broken, Cancel, Command, Outcome, Report, Succeeded, Unfinished
from argyll_redis.core.limits import MAX_DURATION_MS, MAX_ERROR_CHARS, MAX_EVENT_BYTES, MAX_RETRIES
from argyll_redis.core.model import JSON, Backoff, OnFailure, RetryDefaults, Script, StepId, StepType, Token
from argyll_redis.core.parse_request import read_flow_id
from argyll_redis.declare import Declared, Retry, declare
from argyll_redis.errors import InvalidInput, InvalidStep, Problem, UnknownFlow, UnknownToken
from argyll_redis.handle import FlowHandle
from argyll_redis.reading import Reading
from argyll_redis.runtime.clock import new_id
from argyll_redis.runtime.engine import EngineConfig
from argyll_redis.runtime.node import Node
from argyll_redis.runtime.open import open_store
from argyll_redis.starting import Goals, Starter
from argyll_redis.steps import builtin_handlers
from argyll_redis.steps.python import PythonHandler
from argyll_redis.store.check import check_queues
from argyll_redis.store.codec import check, encode
from argyll_redis.store.protocol import Store
from argyll_redis.sync import SyncApp

DEFAULT_URL = "redis://localhost:6379/0"
Registration = Literal["update", "strict", "sync"]
F = TypeVar("F", bound=Callable[..., Any])
MIN_LEASE_MS = 100
"""A shorter lease runs out between two renewals of a busy process."""
MAX_LEASE_MS = 3_600_000
"""A longer one leaves work of a dead engine alone for more than an hour."""


@dataclass(frozen=True, slots=True)
class AppConfig:
    """How an app plans and works. Times are ms."""

    retry: RetryDefaults = field(default_factory=RetryDefaults)
    """What retry fields that steps leave out become in the plans made here."""
    linger_ms: int = 3_600_000
    """How long an outcome from outside is waited for after the flow's own."""
    lease_ms: int = 10_000
    grace_ms: int = 30_000
    """How long a drain waits for running work."""

    def __post_init__(self) -> None:
        """Refuses settings that cannot work, all of them together, with `InvalidInput`."""
        retry = self.retry
        problems = [
            Problem(name, f"{value!r} is out of range", f"use {least:,} to {most:,}")
            for name, value, least, most in (
                ("lease_ms", self.lease_ms, MIN_LEASE_MS, MAX_LEASE_MS),
                ("linger_ms", self.linger_ms, 0, MAX_DURATION_MS),
                ("grace_ms", self.grace_ms, 0, MAX_DURATION_MS),
                ("max_retries", retry.max_retries, -1, MAX_RETRIES),
                ("init_backoff_ms", retry.init_backoff_ms, 1, MAX_DURATION_MS),
                ("max_backoff_ms", retry.max_backoff_ms, 1, MAX_DURATION_MS),
            )
            if not least <= value <= most
        ]
        if retry.init_backoff_ms > retry.max_backoff_ms:
            what = f"is {retry.init_backoff_ms:,}, more than max_backoff_ms {retry.max_backoff_ms:,}"
            problems.append(Problem("init_backoff_ms", what, "make it smaller, or max_backoff_ms larger"))
        if problems:
            raise InvalidInput(problems=problems)

    def changed(self, settings: Mapping[str, Any]) -> AppConfig:
        """A copy with other settings, those of `retry` by their own names. Raises `InvalidInput`."""
        of_retry = {each.name for each in fields(RetryDefaults)}
        retry = {name: value for name, value in settings.items() if name in of_retry}
        own = {name: value for name, value in settings.items() if name not in of_retry}
        if "backoff" in retry:
            retry["backoff"] = Backoff(retry["backoff"])
        return replace(self, retry=replace(self.retry, **retry), **own)


class StepOptions(TypedDict, total=False):
    """What `Argyll.step` takes beside the function."""

    id: str | None
    outputs: str | Sequence[str]
    retry: Retry | None
    for_each: str | Sequence[str]
    parallelism: int | None
    permanent: type[BaseException] | Sequence[type[BaseException]]
    queue: str
    timeout_ms: int | None
    on_failure: OnFailure | str | None
    predicate: str | Script | Mapping[str, str] | None
    labels: Mapping[str, str] | None


@dataclass(slots=True, eq=False)
class Connection:
    """What an app has in one event loop: nothing that waits can be shared with another one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while it connects, and while steps are registered."""
    node: Node | None = None
    registered: int = 0
    """How many of the app's declarations the catalog is known to have."""
    is_engine: bool = False


class Argyll(CatalogApi, Reading):
    """A namespace, and the python steps that this process declares for it.

    `url` is one of `redis://`, `rediss://`, `unix://` and `memory://` (this process only). `register`
    says what happens to declared steps that are registered differently: `update` changes them,
    `strict` refuses, `sync` also removes those that this app no longer declares (an app is known by
    the modules of its functions). An app with a `version` never overwrites the steps of a later one.

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
        queue: str = "default",
        timeout_ms: int | None = None,
        on_failure: OnFailure | str | None = None,
        predicate: str | Script | Mapping[str, str] | None = None,
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
                queue=queue,
                timeout_ms=timeout_ms,
                on_failure=on_failure,
                predicate=predicate,
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

    async def _opened(self) -> Node:
        store = self._make_store() if self._make_store else open_store(self.url, self.namespace)
        # A name of its own: transactions are told apart by it, and another node counts from 1, too.
        node = Node(store, new_id())
        try:
            await node.open()
        except BaseException:
            await store.close()
            raise
        return node

    async def close(self) -> None:
        """Commits what is on its way and disconnects from this event loop."""
        connection = self._connections.pop(asyncio.get_running_loop(), None)
        if connection is not None and connection.node is not None:
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

    # ------------------------------------------------------------ people, outside

    async def complete(
        self, flow: str, step: str, token: str, outputs: Mapping[str, JSON] | None = None
    ) -> bool:
        """Completes a work item from outside. True when it counted, False when it was settled
        already. Raises `UnknownToken` when flow, step or token is not known, `InvalidInput`."""
        return await self._report(flow, step, token, Succeeded(_read_outputs(outputs)))

    async def fail(self, flow: str, step: str, token: str, error: str) -> bool:
        """Fails a work item for good, from outside. Answers as `complete` does."""
        return await self._report(flow, step, token, Broken(_read_error(error)))

    async def retry_later(
        self, flow: str, step: str, token: str, error: str = "not completed", *, after_ms: int | None = None
    ) -> bool:
        """Says from outside that a work item is not completed and may be tried again: by the step's
        retry policy, or after a delay. Answers as `complete` does."""
        outcome = Unfinished(_read_error(error), _read_ms("after_ms", after_ms))
        return await self._report(flow, step, token, outcome)

    async def _report(self, flow: str, step: str, token: str, outcome: Outcome) -> bool:
        unknown = UnknownToken(f'no flow "{flow}" with a step "{step}" has this token')
        if not isinstance(step, str) or not isinstance(token, str):
            raise unknown
        command = Report(self.by("operator"), Token(token), outcome, step=StepId(step.lower()))
        try:
            return await self._ask(flow, command)
        except UnknownFlow:
            raise unknown from None

    async def cancel(self, flow: str) -> bool:
        """Ends a flow as failed, with "cancelled"; True when that changed it. Raises `UnknownFlow`."""
        return await self._ask(flow, Cancel(self.by("operator")))

    async def _ask(self, flow: str, command: Command) -> bool:
        """Has a command decided; whether it counted. Raises `UnknownFlow` when it names nothing."""
        node = await self.node()
        answer = await node.committer.ask(read_flow_id(flow), command)
        if answer.unknown:
            raise UnknownFlow(f'no flow "{flow}" exists')
        return answer.counted

    # ---------------------------------------------------------------------- run

    async def run(
        self,
        *,
        concurrency: int = 100,
        queues: str | Sequence[str] | None = None,
        until: Callable[[], Awaitable[object]] | None = None,
        on_ready: Callable[..., None] | None = None,
    ) -> None:
        """Makes this process an engine until `until` returns (for ever without it), then drains.

        It serves `builtin` and the queues of its declared steps, or just those of `queues` and
        `builtin`. Cancelling stops it at once: what ran is taken over by others. Raises
        `InvalidInput`, `StoreUnavailable` when the server cannot be reached at first.
        """
        if not isinstance(concurrency, int) or concurrency < 1:
            raise InvalidInput(f"concurrency is {concurrency!r}, use a whole number of at least 1")
        served = self._served(queues)
        node = await self.node()
        connection = self._connection()
        if connection.is_engine:
            raise InvalidInput("the app is an engine already (raise its concurrency, or use another app)")
        connection.is_engine = True
        try:
            await self.register_declared()
            await self._run(node, concurrency, served, until or _for_ever, on_ready)
        finally:
            connection.is_engine = False

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
        python = PythonHandler(self.declared, concurrency)
        handlers = {**builtin_handlers(node.evaluator, concurrency), StepType.PYTHON: python}
        able = (declared.id for declared in self.declared.values() if declared.queue in served)
        config = EngineConfig(
            id=next(self._engine_ids),
            queues=served,
            handlers=tuple(sorted(able)),
            concurrency=concurrency,
            lease_ms=self.config.lease_ms,
            grace_ms=self.config.grace_ms,
        )
        await node.run_engine(
            config,
            handlers,
            can_do=lambda step: (
                step.type in handlers and (step.type is not StepType.PYTHON or python.has(step))
            ),
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
    return _read_number("version", given, "a whole number of at least 0")


def _read_ms(name: str, given: int | None) -> int | None:
    return _read_number(name, given, "a whole number of ms")


def _read_number(name: str, given: int | None, what: str) -> int | None:
    if given is None or (type(given) is int and given >= 0):
        return given
    raise InvalidInput(problems=[Problem(name, f"is {given!r:.40}", f"use {what}")])


def _read_outputs(given: Mapping[str, JSON] | None) -> dict[str, JSON]:
    """Outputs from outside, as an event can hold them."""
    if given is not None and not isinstance(given, Mapping):
        raise InvalidInput(problems=[Problem("outputs", "is not an object", "use {name: value}")])
    outputs: dict[str, JSON] = check(dict(given or {}), "outputs")
    size = len(encode(outputs))
    if size > MAX_EVENT_BYTES:
        what = f"{size:,} bytes, more than the {MAX_EVENT_BYTES:,} that an event may have"
        raise InvalidInput(problems=[Problem("outputs", what, "keep large data elsewhere, give its place")])
    return outputs


def _read_error(given: str) -> str:
    """An error text from outside, as an event keeps it."""
    if not isinstance(given, str):
        raise InvalidInput(problems=[Problem("error", "is not text", "say in words what went wrong")])
    return check(given, "error")[:MAX_ERROR_CHARS]


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
