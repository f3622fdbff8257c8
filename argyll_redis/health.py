"""Health: whether this process can work, and whether each registered step could.

Every engine looks at the steps of the catalog now and then and tells the namespace what it found, so
that whoever asks gets the word of all of them. A step of type sync or async is as healthy as its
`health_check` says, a script as it compiles, a flow step as its plan can be made. Of a python step
nothing is looked at: a live engine has its function, or none has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Protocol

from argyll_redis.core.catalog import Catalog
from argyll_redis.core.model import JSON, RetryDefaults, Script, Step, StepId, StepType
from argyll_redis.core.plan import make_plan
from argyll_redis.core.plan_family import UNKNOWN_VALUES
from argyll_redis.core.reader import did_you_mean
from argyll_redis.core.sub_flows import guaranteed_inputs
from argyll_redis.core.values import shown
from argyll_redis.errors import ArgyllError, StoreUnavailable, StoreUnfit, UnknownStep
from argyll_redis.runtime.clock import spread_ms
from argyll_redis.runtime.follower import check_instance
from argyll_redis.store.codec import decode, encode
from argyll_redis.store.protocol import EngineInfo

if TYPE_CHECKING:
    from argyll_redis.app import AppConfig
    from argyll_redis.runtime.node import Node
    from argyll_redis.scripting import Evaluator

log = logging.getLogger(__name__)

LOOK_MS = 20_000
"""Longest time from one look of an engine at the steps to its next."""
SETTLE_MS = 1_000
"""How long after a change of the steps they are looked at: more changes may follow."""
ALIVE_MS = 60_000
"""How long what was found is kept: two looks may fail."""
PROBES = 20
"""Health checks that an engine makes at a time."""
PROBE_LIMIT_S = 5
"""How long a service may take to say how it is."""
LOOK_LIMIT_S = 25
"""How long a whole look may take; steps not reached by then are unknown."""
READY_LIMIT_S = 3
"""How long Redis may take to show that it is there."""
MAX_ERROR_CHARS = 300
"""Of an error that is kept."""

HEALTHY, UNHEALTHY, UNKNOWN = "healthy", "unhealthy", "unknown"
NO_HANDLER = "no live engine has this handler"


class Probe(Protocol):
    """Asks a URL how its service is."""

    async def __call__(self, url: str) -> str | None:
        """Gives what is wrong, without the URL; None when the service is well."""
        ...


class Health:
    """The part of an app that knows how steps are; mixed into `Argyll`."""

    if TYPE_CHECKING:
        config: AppConfig

        async def node(self) -> Node: ...

    async def check_ready(self) -> None:
        """Asks Redis whether this process can work: it is there, runs scripts, takes what this process
        writes, and the namespace is the one that was opened.

        Raises `StoreUnavailable`.
        """
        try:
            async with asyncio.timeout(READY_LIMIT_S):
                node = await self.node()
                if node.committer.fatal is not None:
                    raise StoreUnavailable(str(node.committer.fatal))
                if node.committer.breaker.is_open:
                    raise StoreUnfit(node.committer.breaker.reason)
                await check_instance(node.store)
        except TimeoutError:
            raise StoreUnavailable(f"Redis gave no reply within {READY_LIMIT_S} s") from None

    async def left_alone(self) -> dict[str, int]:
        """How many flows this process leaves alone, by reason, as it cannot go on with them."""
        return (await self.node()).committer.left_alone.counted()

    async def step_health(self) -> dict[str, JSON]:
        """How every registered step is: `{health: {step: {status, error, engines}}, count}`. `engines`
        has `{status, error}` of each live engine that has looked, by its id; a step is unhealthy when
        one of them says so."""
        node = await self.node()
        catalog = await node.catalog.refresh()
        engines = await node.store.engines()
        told = await node.store.health([engine.id for engine in engines])
        found: dict[str, Any] = {
            engine.id: decode(each) for engine, each in zip(engines, told, strict=True) if each is not None
        }
        health = {id: _merged(catalog.step(id), engines, found) for id in sorted(catalog.steps)}
        return {"health": health, "count": len(health)}

    async def health_of(self, step: str) -> dict[str, JSON]:
        """How one step is: `{status, error, engines}`. Raises `UnknownStep`."""
        health = (await self.step_health())["health"]
        found = health.get(step) or health.get(step.lower())
        if found is None:
            mend = did_you_mean(step, health)
            raise UnknownStep(f'no step "{shown(step)}" is registered' + (f" ({mend})" if mend else ""))
        return found

    @asynccontextmanager
    async def looking(self, engine: str, probe: Probe | None = None) -> AsyncGenerator[None, None]:
        """Looks at the steps again and again, in the name of an engine, while this is entered."""
        look = Look(await self.node(), engine, self.config.retry, probe)
        task = asyncio.get_running_loop().create_task(look.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


# --------------------------------------------------------------------- merging


def _merged(step: Step, engines: Sequence[EngineInfo], found: Mapping[str, Any]) -> dict[str, JSON]:
    by_engine = _by_handler(step, engines) if step.type is StepType.PYTHON else _by_look(step, found)
    for status in (UNHEALTHY, HEALTHY, UNKNOWN):
        for each in by_engine.values():
            if each["status"] == status:
                return {**each, "engines": by_engine}
    if step.type is StepType.PYTHON:
        return {"status": UNHEALTHY, "error": NO_HANDLER, "engines": {}}
    return {"status": UNKNOWN, "engines": {}}


def _by_handler(step: Step, engines: Sequence[EngineInfo]) -> dict[str, Any]:
    """The engines that could call a python step."""
    python = step.python
    return {
        engine.id: {"status": HEALTHY}
        for engine in engines
        if python and python.handler in engine.handlers and python.queue in engine.queues
    }


def _by_look(step: Step, found: Mapping[str, Any]) -> dict[str, Any]:
    return {engine: steps[step.id] for engine, steps in found.items() if step.id in steps}


# --------------------------------------------------------------------- looking


class Look:
    """The looks of one engine."""

    def __init__(self, node: Node, engine: str, retry: RetryDefaults, probe: Probe | None) -> None:
        self._node = node
        self._engine = engine
        self._retry = retry
        self._probe = probe
        self._still: dict[StepId, dict[str, JSON]] = {}
        """How steps are whose health follows from the catalog alone, at its version."""
        self._still_of = -1

    async def run(self) -> None:
        """Looks until it is cancelled: now and then, and when this process hears of other steps. A look
        that fails is no reason to end."""
        while True:
            version = self._node.catalog.catalog.version
            try:
                version = await self.once()
            except ArgyllError as error:
                log.warning("a look at the health of the steps failed: %s", error)
            with suppress(TimeoutError):
                async with asyncio.timeout((LOOK_MS - spread_ms(LOOK_MS / 4)) / 1000):
                    await self._node.catalog.changed(version)
                    await asyncio.sleep(SETTLE_MS / 1000)

    async def once(self) -> int:
        """Looks at all steps and tells what was found; gives the version of the catalog that has them."""
        catalog = await self._node.catalog.refresh()
        found = {**await self._judged(catalog), **await self._probed(catalog)}
        await self._node.store.tell_health(self._engine, encode(found), ALIVE_MS)
        return catalog.version

    async def _judged(self, catalog: Catalog) -> dict[StepId, dict[str, JSON]]:
        if self._still_of != catalog.version:
            self._still = {}
            for id in sorted(catalog.steps):
                step = catalog.step(id)
                if step.type in (StepType.SCRIPT, StepType.FLOW):
                    self._still[id] = _shape(_error(catalog, step, self._retry, self._node.evaluator))
                    await asyncio.sleep(0)  # work of this engine goes first
            self._still_of = catalog.version
        return self._still

    async def _probed(self, catalog: Catalog) -> dict[StepId, dict[str, JSON]]:
        """Asks the services of sync and async steps, each URL once."""
        steps = [catalog.step(id) for id in sorted(catalog.steps)]
        called = [step for step in steps if step.http is not None]
        urls = {step.http.health_check for step in called if step.http and step.http.health_check}
        found = await _ask_all(sorted(urls), self._probe) if self._probe else {}
        return {
            step.id: found.get(step.http.health_check or "", {"status": UNKNOWN})
            for step in called
            if step.http
        }


async def _ask_all(urls: Sequence[str], probe: Probe) -> dict[str, dict[str, JSON]]:
    found: dict[str, dict[str, JSON]] = {}
    free = asyncio.Semaphore(PROBES)

    async def ask(url: str) -> None:
        async with free:
            found[url] = _shape(await _answer(url, probe))

    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_LIMIT_S), asyncio.TaskGroup() as group:
            for url in urls:
                group.create_task(ask(url))
    return found


async def _answer(url: str, probe: Probe) -> str | None:
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            return await probe(url)
    except TimeoutError:
        return f"no answer within {PROBE_LIMIT_S} s"
    except Exception as error:  # a service may do anything
        return type(error).__name__


def _shape(error: str | None) -> dict[str, JSON]:
    if error is None:
        return {"status": HEALTHY}
    return {"status": UNHEALTHY, "error": error[:MAX_ERROR_CHARS]}


def _error(catalog: Catalog, step: Step, retry: RetryDefaults, evaluator: Evaluator) -> str | None:
    """What keeps a step of type script or flow from working."""
    if step.type is StepType.FLOW:
        return plan_error(catalog, step, retry)
    scripts = [(step.script, "step"), (step.predicate, "predicate")]
    return next(
        (error for script, purpose in scripts if (error := _script_error(evaluator, script, purpose))), None
    )


def _script_error(evaluator: Evaluator, script: Script | None, purpose: str) -> str | None:
    try:
        if script is not None:
            evaluator.compile(script, purpose)
    except ArgyllError as error:
        return f"{purpose}: {error}"
    return None


def plan_error(catalog: Catalog, step: Step, retry: RetryDefaults) -> str | None:
    """Why the goals of a flow step cannot be planned from the inputs that it is sure to have."""
    try:
        plan = make_plan(catalog, step.goals, dict.fromkeys(guaranteed_inputs(step), UNKNOWN_VALUES), retry)
    except ArgyllError as error:
        return str(error)
    if plan.required:
        return f"its goals need values that it does not have for sure: {', '.join(plan.required)}"
    return None
