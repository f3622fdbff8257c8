"""The engines and callers of a test: whole ones, which call the functions of an app under virtual time.

A plain function is called directly, so nothing waits for a thread; a stand-in is called in its place
where there is one. Every call is written down. Where a seed says so, the engine dies or freezes around
the call, or the reply comes too late: never in it, as what a function has done it has done.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from typing import Any

from argyll_redis.core.commands import Broken, Outcome, Succeeded
from argyll_redis.core.model import JSON, PythonWork, StepType, handler_of
from argyll_redis.declare import Declared
from argyll_redis.declare.function import Function
from argyll_redis.errors import InvalidInput, ScriptError
from argyll_redis.steps import builtin_handlers
from argyll_redis.steps.context import ACCEPTED, StepContext
from argyll_redis.steps.job import Handler, Job
from argyll_redis.steps.python import PythonHandler, outcome_of, undo_functions
from argyll_redis.store.codec import check
from argyll_redis.testing.crew import Crew, Running
from argyll_redis.testing.fates import Fates
from argyll_redis.testing.observer import Observer
from argyll_redis.testing.outside import Outside
from argyll_redis.testing.stage import EVALUATOR, Call, Stage
from argyll_redis.testing.standins import LOST, Attempts, Later, StandIn, Takes
from argyll_redis.testing.virtual import MS

FAULTS_AN_ITEM = 2
"""Attempts of a work item that faults strike; so a step that may be tried three times can succeed."""
_CONTEXT = " ctx"
"""Under which a call is given its context: no input has such a name."""


class CallFault(StrEnum):
    """What befalls an engine around a call."""

    CRASH_BEFORE = "the engine crashes before the call"
    CRASH_AFTER = "the engine crashes after the call"
    PAUSE = "the engine freezes after the call"
    LATE = "the reply comes after the timeout"


@dataclass(slots=True)
class StepCall:
    """A call of a step's function, or of its stand-in."""

    flow_id: str
    step: str
    """Its id; `<id>.undo` for a call that undoes a work item."""
    token: str
    attempt: int
    at_ms: int
    """Unix ms, of the virtual clock."""
    inputs: dict[str, JSON]
    engine: str
    came_to: str = "runs"
    """What it came to, as text: `returned 30`, `raised ConnectionError: busy`, `was stopped` (its time
    was over), `was lost with its engine`."""


@dataclass(frozen=True, slots=True)
class CallRates:
    """How likely each fault is at a call, and how likely a call takes no time."""

    by_fault: Mapping[CallFault, float] = field(default_factory=dict[CallFault, float])
    quick: float = 1.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What is to befall one call."""

    fault: CallFault | None = None
    before_ms: float = 0
    after_ms: float = 0


class Callers(Outside):
    """Those who start the flow, wait for it, and bring the outcomes that come from outside."""

    def __init__(self, stage: Stage, observer: Observer) -> None:
        super().__init__(stage, observer)
        self.served = frozenset()
        self._waiting: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Starts each flow, now and then from two places; somebody waits for its end, and follows it."""
        for place in range(self._stage.scenario.clients):
            self._begin(place)
        for flow in self._stage.scenario.flows:
            for _ in range(flow.starts):
                self._at(flow.start_ms, self._start, flow)
            before = set(self._errands)
            self._at(flow.start_ms, self._wait_for, flow.id)
            self._at(flow.start_ms, self._follow, flow.id)
            self._waiting += [errand for errand in self._errands if errand not in before]

    @property
    def brings_nothing(self) -> bool:
        """Whether nobody brings anything any more: those that are left wait for the end of the flow."""
        return self.is_idle or all(errand in self._waiting for errand in self._errands)

    def bring(self, job: Job, outcome: Outcome, after_ms: float) -> None:
        """Brings the outcome of an attempt from outside, later."""
        self._at(after_ms, self._complete, job, outcome)


class FunctionCrew(Crew):
    """Engines that have the functions of an app."""

    def __init__(
        self,
        stage: Stage,
        outside: Callers,
        declared: Mapping[str, Declared],
        stand_ins: Mapping[str, StandIn],
        *,
        fates: Fates | None = None,
        rates: CallRates | None = None,
    ) -> None:
        super().__init__(stage, outside)
        self.calls: list[StepCall] = []
        """Every call so far, in order."""
        self._callers = outside
        self._declared = declared
        self._stand_ins = stand_ins
        self._fates = fates
        self._rates = rates or CallRates()

    def calls_of(self, flow_id: str) -> list[StepCall]:
        """The calls of a flow, and of its children."""
        family = f"{flow_id}:"  # as `sub_flows` names children
        return [call for call in self.calls if call.flow_id == flow_id or call.flow_id.startswith(family)]

    def _functions(self) -> tuple[str, ...]:
        return tuple(sorted({*self._declared, *self._stand_ins, *map(handler_of, StepType)}))

    def _handlers(self, running: Running) -> dict[StepType, Handler]:
        return {type: partial(self._call, running) for type in StepType}

    async def _work(self, running: Running, job: Job) -> Outcome:
        """Calls what a step's work is here."""
        if job.undo is not None:
            return await self._call_undo(running, job)
        stage = self._stage
        stage.journal.calls.setdefault(job.flow_id, []).append(Call(job.token, job.attempt, stage.now_ms()))
        step = job.step
        if step.type is StepType.PYTHON or step.id in self._stand_ins:
            return await self._call_function(running, job)
        if step.type is StepType.SCRIPT and step.script is not None:
            types = {output.inner: output.type for output in step.outputs}
            try:
                return Succeeded(EVALUATOR.run(step.script, job.inputs, types))
            except ScriptError as error:
                return Broken(str(error))
        handler = builtin_handlers(EVALUATOR, running.spec.concurrency).get(step.type)
        if step.http is not None or handler is None:
            return Broken(f"a step of type {step.type} is not called in a test (give it a stand-in)")
        return await handler(job)

    async def _call_function(self, running: Running, job: Job) -> Outcome:
        """Calls a function as an engine does: its time limit, and what its answer means, are the same."""
        name = job.step.python.handler if job.step.python else job.step.id
        declared = self._declared.get(name) or _without_function(job)
        if name not in self._declared and job.step.id not in self._stand_ins:
            return Broken(f'no function "{name}" is declared, and nothing stands in for it')
        answer = partial(self._answer, running, job, declared)
        act = Function(partial(self._act, running, job, answer), True, _CONTEXT)
        if job.step.python is None:
            job = replace(job, step=replace(job.step, python=PythonWork(name)))
        return await PythonHandler({name: replace(declared, handler=act)}, 1)(job)

    async def _call_undo(self, running: Running, job: Job) -> Outcome:
        """Calls the function that undoes a work item."""
        name = job.step.python.undo if job.step.python else None
        function = undo_functions(self._declared).get(name or "")
        if name is None or function is None:
            return Broken(f'no function "{name or job.step.id}" is declared that undoes it')

        async def answer(inputs: dict[str, JSON], context: StepContext) -> Any:
            outputs = dict(job.undo.outputs) if job.undo else {}
            given = {function.context_parameter: context} if function.context_parameter else {}
            undone = function.function(inputs, outputs, **given)
            return await undone if inspect.isawaitable(undone) else undone

        async def act(inputs: dict[str, JSON], outputs: object, **given: Any) -> Any:
            return await self._act(running, job, answer, **inputs, **given)

        declared = replace(_without_function(job), handler=Function(act, True, _CONTEXT))
        return await PythonHandler({name: declared}, 1)(job)

    async def _act(
        self, running: Running, job: Job, answers: Callable[..., Awaitable[Any]], **arguments: Any
    ) -> Any:
        """The call itself, and what befalls the engine around it."""
        context: StepContext = arguments.pop(_CONTEXT)
        fate = self._draw_fate(job)
        if fate.before_ms:
            await asyncio.sleep(fate.before_ms / MS)
        if fate.fault is CallFault.CRASH_BEFORE:
            self._kill(running, job, fate.fault)
        call = self._write_down(running, job, arguments)
        answer: Any = None
        error: BaseException | None = None
        try:
            answer = await answers(arguments, context)
            call.came_to = f"returned {answer!r:.80}"
        except asyncio.CancelledError:
            call.came_to = "was lost with its engine" if running.process.is_dead else "was stopped"
            raise
        except BaseException as raised:
            call.came_to = f"raised {type(raised).__name__}: {raised}".removesuffix(": ")
            error = raised
        self._stage.note(running.process.name, f"{_name_of(job)} {call.came_to}")
        await self._befall(running, job, fate)
        if error is not None:
            raise error
        return answer

    def _write_down(self, running: Running, job: Job, inputs: dict[str, JSON]) -> StepCall:
        who, now_ms = running.process.name, self._stage.now_ms()
        step = f"{job.step.id}.undo" if job.undo else str(job.step.id)
        call = StepCall(job.flow_id, step, job.token, job.attempt, now_ms, dict(inputs), who)
        self.calls.append(call)
        self._stage.note(who, f"calls {_name_of(job)}")
        return call

    # -------------------------------------------------------------- what it comes to

    async def _answer(
        self,
        running: Running,
        job: Job,
        declared: Declared,
        inputs: dict[str, JSON],
        context: StepContext,
    ) -> Any:
        stand_in = self._stand_ins.get(job.step.id)
        if stand_in is not None:
            answer = stand_in.answer(inputs, context)
            if inspect.isawaitable(answer):
                answer = await answer
            return await self._carry_out(running, job, declared, answer)
        given: dict[str, Any] = dict(inputs)
        if declared.context_parameter:
            given[declared.context_parameter] = context
        answer = declared.function(**given)
        return await answer if inspect.isawaitable(answer) else answer

    async def _carry_out(self, running: Running, job: Job, declared: Declared, answer: Any) -> Any:
        """Does what a stand-in's answer says."""
        while isinstance(answer, (Takes, Attempts)):
            if isinstance(answer, Takes):
                await asyncio.sleep(answer.ms / MS)
                answer = answer.then
            else:
                answer = answer.of(job.attempt)
        if answer is LOST:
            self._kill(running, job, "is killed in")
        if isinstance(answer, Later):
            self._callers.bring(job, _outcome(answer.then, declared, job), answer.after_ms)
            return ACCEPTED
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, type) and issubclass(answer, BaseException):
            raise answer()
        return answer

    # ------------------------------------------------------------------------ faults

    def _draw_fate(self, job: Job) -> Fate:
        """What befalls the engine of a call."""
        if self._fates is None or self._stage.is_calm:
            return Fate()
        name = _name_of(job)
        draw = self._fates.draw(f"call {name}")
        before_ms = after_ms = 0.0
        if draw.random() >= self._rates.quick:
            longest_ms = self._stage.scenario.habits.longest * self._stage.scenario.lease_ms
            if job.step.work.timeout_ms:
                longest_ms = min(longest_ms, job.step.work.timeout_ms / 2)
            before_ms, after_ms = draw.random() * longest_ms / 2, draw.random() * longest_ms / 2
        fault = self._draw_fault(job, draw.random())
        if fault is not None and not self._fates.strikes(f"{name}: {fault}"):
            fault = None
        return Fate(fault, before_ms, after_ms)

    def _draw_fault(self, job: Job, drawn: float) -> CallFault | None:
        if job.attempt > FAULTS_AN_ITEM:
            return None
        limit = 0.0
        for fault, rate in self._rates.by_fault.items():
            limit += rate if fault is not CallFault.LATE or job.step.work.timeout_ms else 0
            if drawn < limit:
                return fault
        return None

    async def _befall(self, running: Running, job: Job, fate: Fate) -> None:
        """Lets happen what follows a call."""
        stage = self._stage
        if fate.fault is CallFault.CRASH_AFTER:
            self._kill(running, job, fate.fault)
        if fate.fault is CallFault.PAUSE:
            stage.note(running.process.name, f"{_name_of(job)}: {fate.fault}")
            stage.journal.disturbances += 1
            stage.network.pause(running.process, stage.fates.draw(f"pause {_name_of(job)}"))
            await asyncio.sleep(0)  # this task goes on when its process does
        if fate.fault is CallFault.LATE:
            stage.note(running.process.name, f"{_name_of(job)}: {fate.fault}")
            await asyncio.sleep(2 * job.step.work.timeout_ms / MS)
        if fate.after_ms:
            await asyncio.sleep(fate.after_ms / MS)

    def _kill(self, running: Running, job: Job, what: str) -> None:
        self._stage.note(running.process.name, f"{_name_of(job)}: {what}")
        self._stage.journal.disturbances += 1
        running.process.kill()
        raise asyncio.CancelledError


def _name_of(job: Job) -> str:
    what = f"{job.step.id}.undo" if job.undo else job.step.id
    return f"{what} {job.token[:6]}/{job.attempt}"


def _without_function(job: Job) -> Declared:
    """A step for which only a stand-in is there, as if it were a python step."""
    names = tuple(output.inner for output in job.step.outputs)
    nobody = Function(lambda: None, False, None)
    definition: dict[str, JSON] = {"id": str(job.step.id), "python": {}}
    return Declared(definition, nobody, names, len(names) == 1, ())


def _outcome(given: Any, declared: Declared, job: Job) -> Outcome:
    """An outcome that comes from outside."""
    if isinstance(given, type) and issubclass(given, BaseException):
        given = given()
    if isinstance(given, BaseException):
        return outcome_of(given, declared.permanent, job.step)
    if declared.single_output:
        return Succeeded({declared.outputs[0]: check(given, declared.outputs[0])})
    if not declared.outputs:
        return Succeeded({})
    if not isinstance(given, Mapping):
        names = ", ".join(declared.outputs)
        raise InvalidInput(f"replace.{job.step.id}: what comes later is no mapping with {names}")
    return Succeeded({name: check(value, name) for name, value in given.items()})
