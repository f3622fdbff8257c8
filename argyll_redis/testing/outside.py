"""Everybody outside: clients without an engine, through which flows are started, completed and cancelled.

They do not believe in replies that they did not get: what was not answered is asked again, through
whichever client lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from argyll_redis.core.catalog import register
from argyll_redis.core.commands import (
    Answer,
    Broken,
    Cancel,
    Command,
    Outcome,
    Report,
    Start,
    Succeeded,
    Unfinished,
)
from argyll_redis.core.model import StepId, Token
from argyll_redis.errors import FlowConflict, HistoryLost, StoreUnavailable, UnknownFlow
from argyll_redis.handle import FlowHandle
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Job
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.scenario import FlowSpec, makes_list
from argyll_redis.testing.stage import Acked, Stage
from argyll_redis.testing.virtual import MS, Process

if TYPE_CHECKING:
    from argyll_redis.app import Argyll

T = TypeVar("T")

VIA_ENGINE = 0.3
"""How often somebody asks an engine's process and no client."""
AGAIN_MS = 50
"""How long somebody waits before asking again."""


@dataclass(eq=False, slots=True)
class Client:
    """A client's process from its start to its end."""

    process: Process
    node: Node
    is_open: bool = False

    @property
    def is_idle(self) -> bool:
        return self.process.is_dead or self.node.committer.is_idle


class Outside:
    """People, callers and webhooks."""

    def __init__(self, stage: Stage, observer: Observer) -> None:
        self.clients: dict[int, Client] = {}
        self.served = self._draw_served(stage)
        """Steps whose outcome may come from outside."""
        self.engines: Callable[[], list[Client]] = list
        """Gives the processes of engines that may be asked things, too."""
        self._stage = stage
        self._observer = observer
        self._generations: dict[int, int] = {}
        self._errands: dict[asyncio.Task[None], None] = {}
        self._accepted: list[Job] = []

    @staticmethod
    def _draw_served(stage: Stage) -> frozenset[str]:
        draw = stage.fates.draw("served")
        ids = sorted({id for plan in stage.plans() for id in plan.steps})
        return frozenset(id for id in ids if draw.random() < 0.3)

    def start(self) -> None:
        scenario, fates = self._stage.scenario, self._stage.fates
        for place in range(scenario.clients):
            self._begin(place)
        for flow in scenario.flows:
            self._plan(flow, fates.draw(f"outside {flow.id}"))
        draw = fates.draw("meddlers")
        for number in range(1, draw.randint(0, 2) + 1):
            delay_ms = draw.randrange(scenario.faults_ms)
            if fates.strikes(f"somebody meddles {number}"):
                self._at(delay_ms, self._meddle)

    def _plan(self, flow: FlowSpec, draw: Random) -> None:
        """Plans what people do to a flow."""
        faults_ms, fates = self._stage.scenario.faults_ms, self._stage.fates
        for _ in range(flow.starts):
            self._at(flow.start_ms + draw.randint(0, 20), self._start, flow)
        if flow.cancel_ms is not None:
            self._at(max(flow.cancel_ms, flow.start_ms), self._cancel, flow.id)
        waits, follows = draw.random() < 0.2, draw.random() < 0.1
        if waits and fates.strikes(f"somebody waits for {flow.id}"):
            self._at(draw.randrange(faults_ms), self._wait_for, flow.id)
        if follows and fates.strikes(f"somebody follows {flow.id}"):
            self._at(draw.randrange(faults_ms), self._follow, flow.id)

    @property
    def is_idle(self) -> bool:
        """Whether everything that was asked is answered."""
        self._errands = {errand: None for errand in self._errands if not errand.done()}
        return not self._errands and all(client.is_idle for client in self.clients.values())

    def _at(self, delay_ms: float, errand: Callable[..., Coroutine[Any, Any, None]], *given: object) -> None:
        """Sends somebody on an errand, after a while."""

        async def go() -> None:
            await asyncio.sleep(delay_ms / MS)
            try:
                await errand(*given)
            except Exception as error:
                if self._stage.journal.has_failed_over and isinstance(error, UnknownFlow | HistoryLost):
                    self._stage.note("", f"an errand ends, as the server lost something: {error}")
                else:
                    self._stage.object(f"an errand failed: {error!r}")

        self._errands[self._stage.loop.create_task(go(), context=Context())] = None

    # ------------------------------------------------------------------- clients

    def renew(self) -> None:
        """Ends all clients; whoever asks something begins one anew."""
        for client in self.clients.values():
            client.process.kill()

    def give_up(self) -> None:
        """Ends all errands: there is nobody left to ask."""
        for errand in self._errands:
            errand.cancel()

    def _begin(self, place: int) -> None:
        generation = self._generations[place] = self._generations.get(place, 0) + 1
        process = self._stage.loop.process(f"c{place}.{generation}")
        client = self.clients[place] = Client(process, self._stage.node(process))
        task = process.spawn(self._open(client))
        task.add_done_callback(partial(self._opened, client), context=Context())

    async def _open(self, client: Client) -> None:
        await client.node.open()
        scenario = self._stage.scenario
        if scenario.registers:
            await client.node.catalog.change(
                f"start:{client.process.name}", lambda catalog: register(catalog, scenario.definitions)
            )

    def _opened(self, client: Client, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            client.is_open = True
        else:
            client.process.kill()

    async def _client(self) -> Client:
        """Some client that lives; one that died is replaced. An engine's process is one, too."""
        while True:
            engines = self.engines()
            if engines and self._stage.random.random() < VIA_ENGINE:
                return self._stage.random.choice(engines)
            place = self._stage.random.choice(sorted(self.clients))
            client = self.clients[place]
            if client.process.is_dead and self._stage.journal.emptied_ms < 0:
                self._begin(place)
            elif client.is_open:
                return client
            await asyncio.sleep(AGAIN_MS / MS)

    async def _through(self, errand: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Does something through a client, once more through another one when that one dies or has no
        answer."""
        while True:
            client = await self._client()
            asked = client.process.spawn(errand(client))
            await asyncio.wait([asked])
            if not asked.cancelled():
                try:
                    return asked.result()
                except HistoryLost:
                    raise
                except StoreUnavailable:
                    pass
            await asyncio.sleep(AGAIN_MS / MS)

    async def _ask(self, flow_id: str, command: Command) -> Answer | FlowConflict:
        """Asks until there is an answer."""

        async def ask(client: Client) -> Answer | FlowConflict:
            asked = command
            if isinstance(asked, Start):
                asked = replace(asked, plan_hash=client.node.logs.plans.add(asked.plan))
            try:
                return await client.node.committer.ask(flow_id, asked)
            except FlowConflict as error:
                return error

        return await self._through(ask)

    # --------------------------------------------------------------------- flows

    async def _start(self, flow: FlowSpec) -> None:
        command = Start(
            by="start:outside",
            plan=flow.plan,
            plan_hash="",
            seed=flow.seed,
            init=flow.init,
            labels=flow.labels,
            timeout_ms=flow.timeout_ms,
            compensate=flow.compensate,
            linger_ms=flow.linger_ms,
        )
        asked_ms = self._stage.loop.now_ms()
        answer = await self._ask(flow.id, command)
        self._stage.note("", f"{flow.id} is started")
        if isinstance(answer, FlowConflict) and not self._stage.journal.has_failed_over:
            self._stage.object(f"start: {answer}")
        self._stage.journal.started.add(flow.id)
        if self._stage.journal.keeps(asked_ms):
            self._stage.journal.promised.add(flow.id)
        other = replace(command, init={**flow.init, "a": [-1]})
        if flow.starts > 1:
            answer = await self._ask(flow.id, other)
            was_kept = self._stage.journal.keeps(asked_ms)  # else there may have been no first one any more
            if was_kept and not isinstance(answer, FlowConflict):
                self._stage.object(f"start: {flow.id} was started with something else and nobody minded")

    async def _cancel(self, flow_id: str) -> None:
        await self._until_started(flow_id)
        asked_ms = self._stage.loop.now_ms()
        answer = await self._ask(flow_id, Cancel("operator:outside"))
        assert isinstance(answer, Answer)
        self._stage.note("", f"{flow_id} is cancelled{'' if answer.counted else ', too late'}")
        if answer.counted and self._stage.journal.keeps(asked_ms):
            self._stage.journal.cancelled.add(flow_id)

    async def _until_started(self, flow_id: str) -> None:
        while flow_id not in self._stage.journal.started:  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(AGAIN_MS / MS)

    async def _wait_for(self, flow_id: str) -> None:
        """Waits for a flow's outcome, as whoever started it does."""
        await self._until_started(flow_id)
        told = await self._through(lambda client: _handle(client, flow_id).outcome())
        self._stage.note("", f"{flow_id} is known to be {told['status']}")
        if self._stage.journal.has_failed_over:
            return
        self._observer.look()
        if told["status"] != self._observer.flows[flow_id].status:
            self._stage.object(f"outcome: {flow_id} was said to be {told['status']}")

    async def _follow(self, flow_id: str) -> None:
        """Follows a flow's events until the last one."""
        await self._until_started(flow_id)

        async def follow(client: Client) -> list[str]:
            return [str(event["id"]) async for event in _handle(client, flow_id).events()]

        ids = await self._through(follow)
        if self._stage.journal.has_failed_over:
            return
        self._observer.look()
        if ids != [f"{event.version}-0" for event in self._observer.events[flow_id]]:
            self._stage.object(f"I-26: who followed {flow_id} saw {ids}")

    # ---------------------------------------------------------------- completions

    def will_complete(self, job: Job) -> None:
        """Completes an attempt from outside, sooner or later, now and then twice, or never where the
        step itself does not wait for ever."""
        lease_ms = self._stage.scenario.lease_ms
        self._accepted.append(job)
        draw = self._stage.fates.draw(f"outside {job.token} {job.attempt}")
        if job.step.work.timeout_ms and draw.random() < 0.2:
            return
        for _ in range(2 if draw.random() < 0.3 else 1):
            delay_ms = draw.random() ** 2 * 3 * lease_ms
            self._at(delay_ms, self._complete, job, self._draw_outcome(job, draw))
        if draw.random() < 0.05:
            self._at(draw.random() * lease_ms, self._forge, job)

    def complete_again(self) -> None:
        """Brings every outcome once more: the server may have lost what it was told."""
        for job in self._accepted:
            draw = self._stage.fates.draw(f"again {job.token}")
            self._at(0, self._complete, job, self._draw_success(job, draw))

    def _draw_success(self, job: Job, draw: Random) -> Succeeded:
        value = [draw.randint(0, 9)] if makes_list(job.step) else draw.randint(0, 9)
        return Succeeded({output.inner: value for output in job.step.outputs})

    def _draw_outcome(self, job: Job, draw: Random) -> Outcome:
        drawn = draw.random()
        if drawn < 0.1:
            return Unfinished("later")
        if drawn < 0.15:
            return Broken("refused")
        return self._draw_success(job, draw)

    async def _complete(self, job: Job, outcome: Outcome) -> None:
        draw = self._stage.random
        origin = draw.choice(("operator", "webhook"))
        attempt = job.attempt if draw.random() < 0.5 else None
        report = Report(f"{origin}:outside", Token(job.token), outcome, attempt, step=job.step.id)
        await self._report(job.flow_id, report)

    async def _report(self, flow_id: str, report: Report) -> None:
        asked_ms = self._stage.loop.now_ms()
        answer = await self._ask(flow_id, report)
        assert isinstance(answer, Answer)
        what = f"{flow_id} {report.step} {report.token[:6]} {type(report.outcome).__name__}"
        self._stage.note("", f"{what} from outside: {answer.reason or 'counted'}")
        if answer.unknown and not self._stage.journal.has_failed_over:
            self._stage.object(f"completion: {what} is unknown")
        elif answer.counted and isinstance(report.outcome, Succeeded) and self._stage.journal.keeps(asked_ms):
            outputs = dict(report.outcome.outputs)
            self._stage.journal.acked.append(Acked(flow_id, report.token, outputs))

    async def _forge(self, job: Job) -> None:
        """Tries a token that does not exist."""
        report = Report("webhook:outside", Token("0" * 32), Succeeded({}), step=job.step.id)
        answer = await self._ask(job.flow_id, report)
        if not isinstance(answer, Answer) or not answer.unknown:
            self._stage.object("completion: a forged token was accepted")

    async def _meddle(self) -> None:
        """Completes any work item of a step that has begun, without having been asked to."""
        self._observer.look()
        known = [
            (flow, token, place)
            for flow in self._observer.flows.values()
            for token, place in flow.tokens.items()
        ]
        if not known:
            return
        flow, token, (step_id, _) = self._stage.random.choice(known)
        step = flow.plan.steps[step_id]
        outputs = {output.inner: [1] if makes_list(step) else 1 for output in step.outputs}
        report = Report("operator:outside", token, Succeeded(outputs), step=StepId(step_id))
        await self._report(flow.id, report)


class _App:
    """What a handle asks of the app that it belongs to."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def node(self) -> Node:
        return self._node


def _handle(client: Client, flow_id: str) -> FlowHandle:
    return FlowHandle(cast("Argyll", _App(client.node)), flow_id)
