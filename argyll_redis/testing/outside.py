"""Everybody outside: clients without an engine, through which flows are started, completed and cancelled.

They do not believe in replies that they did not get: what was not answered is asked again, through
whichever client lives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

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
from argyll_redis.errors import FlowConflict, StoreUnavailable
from argyll_redis.runtime.node import Node
from argyll_redis.steps.job import Job
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.scenario import FlowSpec, makes_list
from argyll_redis.testing.stage import Acked, Stage
from argyll_redis.testing.virtual import MS, Process

AGAIN_MS = 50
"""How long somebody waits before asking again."""


@dataclass(eq=False, slots=True)
class Client:
    """A client's process from its start to its end."""

    place: int
    process: Process
    node: Node
    is_open: bool = False
    hashes: dict[str, str] = field(default_factory=dict[str, str])
    """Of the plans that it knows, by flow."""

    @property
    def is_idle(self) -> bool:
        return self.process.is_dead or self.node.committer.is_idle


class Outside:
    """People, callers and webhooks."""

    def __init__(self, stage: Stage, observer: Observer) -> None:
        self.clients: dict[int, Client] = {}
        self.served = self._draw_served(stage)
        """Steps whose outcome may come from outside."""
        self._stage = stage
        self._observer = observer
        self._generations: dict[int, int] = {}
        self._errands: dict[asyncio.Task[None], None] = {}

    @staticmethod
    def _draw_served(stage: Stage) -> frozenset[str]:
        ids = sorted({id for plan in stage.plans() for id in plan.steps})
        return frozenset(id for id in ids if stage.random.random() < 0.3)

    def start(self) -> None:
        scenario, random = self._stage.scenario, self._stage.random
        for place in range(scenario.clients):
            self._begin(place)
        for flow in scenario.flows:
            for _ in range(flow.starts):
                self._at(flow.start_ms + random.randint(0, 20), self._start(flow))
            if flow.cancel_ms is not None:
                self._at(max(flow.cancel_ms, flow.start_ms), self._cancel(flow.id))
        for _ in range(random.randint(0, 2)):
            self._at(random.randrange(scenario.faults_ms), self._meddle())

    @property
    def is_idle(self) -> bool:
        """Whether everything that was asked is answered."""
        self._errands = {errand: None for errand in self._errands if not errand.done()}
        return not self._errands and all(client.is_idle for client in self.clients.values())

    def _at(self, delay_ms: float, errand: Coroutine[Any, Any, None]) -> None:
        """Sends somebody on an errand, after a while."""

        async def go() -> None:
            try:
                await asyncio.sleep(delay_ms / MS)
                await errand
            except Exception as error:
                self._stage.object(f"an errand failed: {error!r}")
            finally:
                errand.close()

        self._errands[self._stage.loop.create_task(go(), context=Context())] = None

    # ------------------------------------------------------------------- clients

    def _begin(self, place: int) -> None:
        generation = self._generations[place] = self._generations.get(place, 0) + 1
        process = self._stage.loop.process(f"c{place}.{generation}")
        client = self.clients[place] = Client(place, process, self._stage.node(process))
        task = process.spawn(self._open(client))
        task.add_done_callback(partial(self._opened, client), context=Context())

    async def _open(self, client: Client) -> None:
        await client.node.open()

    def _opened(self, client: Client, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is None:
            client.is_open = True
        else:
            client.process.kill()

    async def _client(self) -> Client:
        """Some client that lives; one that died is replaced."""
        while True:
            place = self._stage.random.choice(sorted(self.clients))
            client = self.clients[place]
            if client.process.is_dead:
                self._begin(place)
            elif client.is_open:
                return client
            await asyncio.sleep(AGAIN_MS / MS)

    async def _ask(self, flow_id: str, command: Command) -> Answer | FlowConflict:
        """Asks until there is an answer."""
        while True:
            client = await self._client()
            if isinstance(command, Start):
                command = replace(command, plan_hash=_hash_of(client, flow_id, command))
            asked = client.process.spawn(client.node.committer.ask(flow_id, command))
            await asyncio.wait([asked])
            if not asked.cancelled():
                error = asked.exception()
                if error is None:
                    return asked.result()
                if isinstance(error, FlowConflict):
                    return error
                if not isinstance(error, StoreUnavailable):
                    raise error
            await asyncio.sleep(AGAIN_MS / MS)

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
            linger_ms=flow.linger_ms,
        )
        answer = await self._ask(flow.id, command)
        self._stage.note("", f"{flow.id} is started")
        if isinstance(answer, FlowConflict):
            self._stage.object(f"start: {answer}")
        self._stage.journal.started.add(flow.id)
        other = replace(command, init={**flow.init, "a": [-1]})
        if flow.starts > 1 and not isinstance(await self._ask(flow.id, other), FlowConflict):
            self._stage.object(f"start: {flow.id} was started with something else and nobody minded")

    async def _cancel(self, flow_id: str) -> None:
        while flow_id not in self._stage.journal.started:
            await asyncio.sleep(AGAIN_MS / MS)
        answer = await self._ask(flow_id, Cancel("operator:outside"))
        assert isinstance(answer, Answer)
        self._stage.note("", f"{flow_id} is cancelled{'' if answer.counted else ', too late'}")
        if answer.counted:
            self._stage.journal.cancelled.add(flow_id)

    # ---------------------------------------------------------------- completions

    def will_complete(self, job: Job) -> None:
        """Completes an attempt from outside, sooner or later, now and then twice, or never where the
        step itself does not wait for ever."""
        draw, lease_ms = self._stage.random, self._stage.scenario.lease_ms
        if job.step.work.timeout_ms and draw.random() < 0.2:
            return
        for _ in range(2 if draw.random() < 0.3 else 1):
            delay_ms = draw.random() ** 2 * 3 * lease_ms
            self._at(delay_ms, self._complete(job, self._draw_outcome(job)))
        if draw.random() < 0.05:
            self._at(delay_ms, self._forge(job))

    def _draw_outcome(self, job: Job) -> Outcome:
        draw = self._stage.random
        drawn = draw.random()
        if drawn < 0.1:
            return Unfinished("later")
        if drawn < 0.15:
            return Broken("refused")
        value = [draw.randint(0, 9)] if makes_list(job.step) else draw.randint(0, 9)
        return Succeeded({output.inner: value for output in job.step.outputs})

    async def _complete(self, job: Job, outcome: Outcome) -> None:
        draw = self._stage.random
        origin = draw.choice(("operator", "webhook"))
        attempt = job.attempt if draw.random() < 0.5 else None
        report = Report(f"{origin}:outside", Token(job.token), outcome, attempt, step=job.step.id)
        answer = await self._ask(job.flow_id, report)
        assert isinstance(answer, Answer)
        self._take_answer(job.flow_id, report, answer)

    def _take_answer(self, flow_id: str, report: Report, answer: Answer) -> None:
        what = f"{flow_id} {report.step} {report.token[:6]} {type(report.outcome).__name__}"
        self._stage.note("", f"{what} from outside: {answer.reason or 'counted'}")
        if answer.unknown:
            self._stage.object(f"completion: {what} is unknown")
        elif answer.counted and isinstance(report.outcome, Succeeded):
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
        answer = await self._ask(flow.id, report)
        assert isinstance(answer, Answer)
        self._take_answer(flow.id, report, answer)


def _hash_of(client: Client, flow_id: str, start: Start) -> str:
    found = client.hashes.get(flow_id)
    if found is None:
        found = client.hashes[flow_id] = client.node.logs.plans.add(start.plan)
    return found
