"""`Argyll`: every operation is a method here first; the command line and the HTTP API call it.

An app is also where python steps are declared. It connects when it is first used; its steps are
registered as one transaction when it first starts a flow or runs as an engine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self

from argyll_redis.catalog_api import CatalogApi
from argyll_redis.core.commands import Answer, Broken, Cancel, Outcome, Report, Succeeded, Unfinished
from argyll_redis.core.events import Recorded
from argyll_redis.core.limits import MAX_DURATION_MS, MAX_RETRIES
from argyll_redis.core.model import JSON, Backoff, RetryDefaults, StepId, StepType, Token
from argyll_redis.core.state import Flow
from argyll_redis.declare import Declared, Retry, declare
from argyll_redis.errors import InvalidInput, Problem, UnknownFlow, UnknownToken
from argyll_redis.handle import FlowHandle
from argyll_redis.reading import Reading
from argyll_redis.runtime.clock import new_id
from argyll_redis.runtime.engine import EngineConfig
from argyll_redis.runtime.node import Node
from argyll_redis.runtime.open import open_store
from argyll_redis.starting import Starter
from argyll_redis.steps import builtin_handlers
from argyll_redis.steps.python import PythonHandler
from argyll_redis.store.codec import check
from argyll_redis.store.protocol import Store
from argyll_redis.sync import SyncApp

log = logging.getLogger(__name__)

DEFAULT_URL = "redis://localhost:6379/0"
Registration = Literal["update", "strict", "sync"]
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


class Argyll(CatalogApi, Reading):
    """A namespace, and the python steps that this process declares for it.

    `url` is one of `redis://`, `rediss://`, `unix://` and `memory://` (this process only). `register`
    says what happens to declared steps that are registered differently: `update` changes them,
    `strict` refuses, `sync` also removes those that this app no longer declares. An app with a
    `version` never overwrites the steps of a later one.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        namespace: str = "argyll",
        *,
        register: Registration = "update",
        version: int | None = None,
        config: AppConfig | None = None,
        store: Store | None = None,
    ) -> None:
        self.url = url
        self.namespace = namespace
        self.config = config or AppConfig()
        self.client_id = new_id()
        self.declared: dict[str, Declared] = {}
        self.sync = SyncApp(self)
        self._registration: Registration = register
        self._version = version
        self._given_store = store
        self._node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._opening: asyncio.Lock | None = None
        self._registered = 0
        """How many declared steps the catalog is known to have."""
        self._starter = Starter(self)

    # ------------------------------------------------------------------ declare

    def step(
        self,
        function: Callable[..., Any] | None = None,
        *,
        id: str | None = None,
        outputs: str | Sequence[str] = (),
        retry: Retry | None = None,
        for_each: str | Sequence[str] = (),
        parallelism: int | None = None,
        permanent: Sequence[type[BaseException]] = (),
        queue: str = "default",
        timeout_ms: int | None = None,
        on_failure: str | None = None,
        predicate: str | Mapping[str, str] | None = None,
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
            self.declared[declared.id] = declared
            return function

        return add if function is None else add(function)

    def id_of(self, goal: str | Callable[..., Any]) -> str:
        """The step id that a goal means: the id itself, or that of the function declared as a step."""
        if isinstance(goal, str):
            return goal
        for id, declared in self.declared.items():
            if declared.function is goal:
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
        if self._node is not None:
            raise InvalidInput("the app is connected already (change where it connects before it is used)")
        self.config = self.config.changed(settings)
        if url is not None:
            self.url, self._given_store = url, None
        if namespace is not None:
            self.namespace = namespace

    async def node(self) -> Node:
        """The connected parts of this process; connects at first use."""
        loop = asyncio.get_running_loop()
        if self._node is not None and self._loop is loop:
            return self._node
        if self._opening is None or self._loop is not loop:
            self._opening, self._loop, self._node = asyncio.Lock(), loop, None
        async with self._opening:
            if self._node is None:
                store = self._given_store or open_store(self.url, self.namespace)
                node = Node(store, self.client_id)
                try:
                    await node.open()
                except BaseException:
                    await store.close()
                    raise
                self._node = node
        return self._node

    async def close(self) -> None:
        """Commits what is on its way and disconnects."""
        node, self._node = self._node, None
        if node is not None:
            await node.close()

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
        if len(self.declared) > self._registered:
            await self.register_app(
                self.declared,
                mode=self._registration,
                app_version=self._version,
            )
            self._registered = len(self.declared)

    # --------------------------------------------------------------------- start

    async def start(
        self,
        goals: Sequence[str | Callable[..., Any]],
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
        already. Raises `UnknownToken` when flow, step or token is not known."""
        given = check(dict(outputs or {}), "outputs")
        return await self._report(flow, step, token, Succeeded(given))

    async def fail(self, flow: str, step: str, token: str, error: str) -> bool:
        """Fails a work item for good, from outside."""
        return await self._report(flow, step, token, Broken(str(check(error, "error"))))

    async def retry_later(
        self, flow: str, step: str, token: str, error: str = "not completed", *, after_ms: int | None = None
    ) -> bool:
        """Says from outside that a work item is not completed and may be tried again."""
        return await self._report(flow, step, token, Unfinished(str(check(error, "error")), after_ms))

    async def _report(self, flow: str, step: str, token: str, outcome: Outcome) -> bool:
        node = await self.node()
        report = Report(self.by("operator"), Token(token), outcome, step=StepId(step))
        answer = await node.committer.ask(flow, report)
        if answer.unknown:
            raise UnknownToken(f'no flow "{flow}" with a step "{step}" has this token')
        return answer.counted

    async def cancel(self, flow: str) -> bool:
        """Ends a flow as failed, with "cancelled"; True when that changed it. Raises `UnknownFlow`."""
        node = await self.node()
        answer: Answer = await node.committer.ask(flow, Cancel(self.by("operator")))
        if answer.unknown:
            raise UnknownFlow(f'no flow "{flow}" exists')
        return answer.counted

    # ---------------------------------------------------------------------- run

    async def run(
        self,
        *,
        concurrency: int = 100,
        queues: Sequence[str] | None = None,
        until: Callable[[], Awaitable[None]] | None = None,
        on_ready: Callable[..., None] | None = None,
    ) -> None:
        """Makes this process an engine until `until` returns (for ever without it), then drains.

        It serves `builtin` and the queues of its declared steps, or just those of `queues` and
        `builtin`. Cancelling stops it at once: what ran is taken over by others.
        """
        if not isinstance(concurrency, int) or concurrency < 1:
            raise InvalidInput(f"concurrency is {concurrency!r}, use a whole number of at least 1")
        node = await self.node()
        await self.register_declared()
        own = {declared.queue for declared in self.declared.values()}
        served = ("builtin", *sorted((own if queues is None else set(queues)) - {"builtin"}))
        python = PythonHandler(self.declared, concurrency)
        handlers = {**builtin_handlers(node.evaluator, concurrency), StepType.PYTHON: python}
        config = EngineConfig(
            id=self.client_id,
            queues=served,
            handlers=tuple(sorted(self.declared)),
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
            until=until or _for_ever,
            on_ready=on_ready,
        )

    # --------------------------------------------------------------------- read

    async def load(self, flow_id: str, *, at: int | None = None) -> Flow:
        """Folds a flow from its log, up to a version. Raises `UnknownFlow`."""
        node = await self.node()
        flow = await node.load(flow_id) if at is None else await self._load_prefix(node, flow_id, at)
        if flow.version == 0:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        return flow

    async def _load_prefix(self, node: Node, flow_id: str, at: int) -> Flow:
        if at < 1:
            raise InvalidInput(f"at is {at}: versions begin with 1")
        return node.logs.fold_prefix(flow_id, await self.log(flow_id, upto=at))

    async def log(self, flow_id: str, *, upto: int | None = None) -> list[Recorded]:
        """All events of a flow, or those up to a version. Raises `UnknownFlow`."""
        node = await self.node()
        events: list[Recorded] = []
        while True:
            page = await node.logs.events(flow_id, len(events))
            events.extend(page)
            if not page or (upto is not None and len(events) >= upto):
                break
        if not events:
            raise UnknownFlow(f'no flow "{flow_id}" exists')
        return events if upto is None else events[:upto]


async def _for_ever() -> None:
    await asyncio.Event().wait()
