"""The main job of `argyll demo` from the server to the last check; what it shows is somebody else's.

Whatever is off is said in `Outcome.problems`, one sentence each: an engine that died, a flow that
failed, work that was lost with its engine, a log that breaks a rule, a queue that is not empty, a
figure that one process counts differently.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from argyll_redis.app import Argyll
from argyll_redis.demo import plain, steps
from argyll_redis.demo.app import DEEP_GOAL, GOAL, QUEUE, build
from argyll_redis.demo.crew import Crew, Kill, OwnEngine, short
from argyll_redis.handle import FlowHandle
from argyll_redis.runtime.embedded import Embedded, EmbeddedServer
from argyll_redis.store.connect import Link
from argyll_redis.store.connector import connector_of
from argyll_redis.store.keys import GROUP, Keys
from argyll_redis.store.protocol import partition_of, work_stream
from argyll_redis.tally import Tally

TICK_MS = 50
"""How often the flow is looked at, for the screen and for the moment of the kill."""
STALL_LIMIT_MS = 20_000
"""Longest time without any event before the demo gives the flow up; a takeover takes about 3 s."""
SETTLE_LIMIT_MS = 5_000
"""Longest wait for queues to be empty after the flow."""
KILLED_AT = 1 / 3
"""The part of the modules that is measured when an engine is killed."""
LONG_STEP = "measure"
RETRIED_STEP = "read_licence"
EXPLAINED_STEP = RETRIED_STEP


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of a demo."""

    root: str
    """The folder that is analysed."""
    report_dir: str
    url: str | None = None
    """Of a server; None is the embedded one."""
    namespace: str = "argyll-demo"
    with_crash: bool = True
    is_deep: bool = False


class Screen(Protocol):
    """Who shows how the demo goes on."""

    def say(self, line: str) -> None:
        """Shows a line that stays."""
        ...

    def show(self, tally: Tally) -> None:
        """Shows where the flow is now."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at when the flow had completed."""

    name: str
    good: str
    """What is so when nothing is off."""
    problems: list[str]


@dataclass(slots=True)
class Outcome:
    """All there is to tell of a demo."""

    request: Request
    server: Embedded
    flow_id: str
    engines: list[str]
    reasons: Mapping[str, str]
    """Step to why it is in the plan, or why it is left out."""
    tally: Tally
    kill: Kill | None = None
    why: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What `Argyll.why` says of one step."""
    result: Mapping[str, Any] = field(default_factory=dict[str, Any])
    check_ms: int = 0
    """How long one process took for the same figures."""
    checks: list[Check] = field(default_factory=list[Check])
    failures: list[str] = field(default_factory=list[str])
    """What went wrong on the way."""

    @property
    def problems(self) -> list[str]:
        """Everything that is off, one sentence each."""
        return [*self.failures, *(problem for check in self.checks for problem in check.problems)]

    @property
    def rescued(self) -> int:
        """Attempts that were started again because their engine was lost."""
        return sum(step.taken_over for step in self.tally.steps.values())


Engines = Crew | OwnEngine


async def run(request: Request, screen: Screen) -> Outcome:
    """Runs the demo. Raises what keeps it from beginning, such as `StoreUnavailable`."""
    async with _server(request) as server, build(server.url, request.namespace) as app:
        screen.say(f"Server: {server.sentence}.")
        async with _engines(server, app, request) as engines:
            screen.say(_about(engines))
            outcome, flow = await _begin(app, request, server, engines)
            await _follow(app, flow, outcome, engines, screen)
            if outcome.tally.status == "completed":
                screen.say("Checking: one process counts everything once more.")
                await _examine(app, flow, outcome)
        outcome.failures += engines.complaints
    return outcome


@asynccontextmanager
async def _server(request: Request) -> AsyncIterator[Embedded]:
    if request.url is None:
        async with EmbeddedServer() as server:
            yield server
    elif request.url.startswith("memory:"):
        yield Embedded(request.url, "memory", "in memory, this process only, nothing is kept", None)
    else:
        yield Embedded(request.url, "given", f"the one at {connector_of(request.url).address}", None)


def _engines(server: Embedded, app: Argyll, request: Request) -> Engines:
    return OwnEngine(app) if server.kind == "memory" else Crew(server.url, request.namespace)


def _about(engines: Engines) -> str:
    if isinstance(engines, OwnEngine):
        return "Engine: this process."
    return f"Engines: {len(engines.ids)} processes, {' and '.join(map(short, engines.ids))}."


async def _begin(
    app: Argyll, request: Request, server: Embedded, engines: Engines
) -> tuple[Outcome, FlowHandle]:
    goals = [GOAL, DEEP_GOAL]
    init = {"root": request.root, "report_dir": request.report_dir, "deep": request.is_deep}
    await app.register_declared()
    plan = await app.plan(goals, init)
    flow = await app.start(goals, init, labels={"argyll": "demo"})
    reasons: dict[str, str] = {**plan.why}
    planned = [step for step in app.declared if step in plan.steps]
    return Outcome(request, server, flow.id, engines.ids, reasons, Tally.of(planned)), flow


# ---------------------------------------------------------------------- follow


async def _follow(app: Argyll, flow: FlowHandle, outcome: Outcome, engines: Engines, screen: Screen) -> None:
    """Follows the flow to its end, and kills an engine on the way when that is asked for."""
    tally = outcome.tally
    counting = asyncio.create_task(_count(flow, tally))
    seen, seen_s = 0, time.monotonic()
    try:
        while not counting.done():
            await asyncio.wait([counting], timeout=TICK_MS / 1000)
            screen.show(tally)
            if outcome.request.with_crash and outcome.kill is None and _is_in_the_middle(tally):
                await _crash(app, outcome, engines, screen)
            if not engines.is_alive:
                outcome.failures.append("no engine is left to go on with the flow")
                return
            if tally.events > seen:
                seen, seen_s = tally.events, time.monotonic()
            elif time.monotonic() - seen_s > STALL_LIMIT_MS / 1000:
                outcome.failures.append(
                    f"nothing has happened for {STALL_LIMIT_MS // 1000} s: {_stand(tally)}"
                )
                return
        counting.result()
    finally:
        counting.cancel()
        await asyncio.wait([counting])
    if tally.status != "completed":
        outcome.failures.append(f"the flow has {tally.status}: {tally.error}")


async def _count(flow: FlowHandle, tally: Tally) -> None:
    async for event in flow.events():
        tally.add(event)


def _is_in_the_middle(tally: Tally) -> bool:
    step = tally.steps[LONG_STEP]
    return step.status == "active" and step.done >= step.items * KILLED_AT


def _stand(tally: Tally) -> str:
    waiting = [f"{step.id} is {step.status}" for step in tally.steps.values() if not step.is_over]
    return ", ".join(waiting)


async def _crash(app: Argyll, outcome: Outcome, engines: Engines, screen: Screen) -> None:
    if isinstance(engines, OwnEngine):
        return
    node = await app.node()
    partition = partition_of(outcome.flow_id, node.store.partitions)
    stream = Keys(app.namespace).of(partition, work_stream(QUEUE))
    link = Link(connector_of(app.url), limit=1)

    async def in_flight(engine: str) -> int:
        """The attempts that are pending for an engine, as the server knows it."""
        _, _, _, consumers = await link.call(["XPENDING", stream, GROUP])
        counts = {name.decode(): int(count) for name, count in consumers or ()}
        return counts.get(engine, 0)

    try:
        outcome.kill = kill = await engines.kill_one(in_flight)
    finally:
        await link.close()
    if kill is not None:
        many = "attempt" if kill.in_flight == 1 else "attempts"
        screen.say(f"Killed engine {short(kill.engine)} (SIGKILL) with {kill.in_flight} {many} in flight.")


# --------------------------------------------------------------------- examine


async def _examine(app: Argyll, flow: FlowHandle, outcome: Outcome) -> None:
    """Checks everything that can be checked of a flow that has completed."""
    outcome.result = await flow.result()
    outcome.why = await app.why(flow.id, EXPLAINED_STEP)
    state = await flow.state()
    outcome.checks += [
        _check_steps(outcome),
        _check_sharing(outcome),
        *_check_takeover(outcome),
        Check("queues", "empty", await _left_in_queues(app)),
        await _check_log(app, outcome),
    ]
    started_s = time.monotonic()
    problems = await asyncio.to_thread(_compare, outcome, state)
    outcome.check_ms = round((time.monotonic() - started_s) * 1000)
    outcome.checks.append(Check("figures", "as one process counts them, and so is the report", problems))


def _check_steps(outcome: Outcome) -> Check:
    """What ought to happen in the flow has happened."""
    ran = outcome.tally.steps
    wanted = dict.fromkeys(ran, "completed")
    if not outcome.request.is_deep:
        wanted[DEEP_GOAL] = "skipped"
    problems = [
        f"step {id} is {ran[id].status} and not {status}"
        for id, status in wanted.items()
        if ran[id].status != status
    ]
    if not ran[RETRIED_STEP].retried:
        problems.append(f"step {RETRIED_STEP} was not retried")
    return Check("steps", f"all as planned, {RETRIED_STEP} at its second attempt", problems)


def _check_sharing(outcome: Outcome) -> Check:
    done_by = outcome.tally.done_by
    problems = [f"engine {short(id)} has done nothing" for id in outcome.engines if not done_by[id]]
    problems += [f"unknown engine {short(id)} has done work" for id in done_by if id not in outcome.engines]
    shares = " and ".join(f"{done_by[id]:,}" for id in outcome.engines)
    return Check("engines", f"{shares} items done", problems)


def _check_takeover(outcome: Outcome) -> Iterator[Check]:
    """All that a killed engine had in hand was started again."""
    kill = outcome.kill
    if kill is not None:
        problems: list[str] = []
        if not kill.in_flight:
            problems.append(f"engine {short(kill.engine)} had nothing in flight when it was killed")
        elif outcome.rescued < kill.in_flight:
            problems.append(
                f"engine {short(kill.engine)} was killed with {kill.in_flight} attempts in flight, "
                f"and {outcome.rescued} were taken over"
            )
        yield Check("takeover", f"all {kill.in_flight} attempts of the killed engine", problems)
    elif outcome.request.with_crash and outcome.server.kind != "memory":
        problem = "the work was done before an engine could be killed (--no-crash leaves that out)"
        yield Check("takeover", "", [problem])


async def _check_log(app: Argyll, outcome: Outcome) -> Check:
    audit: Any = await app.audit(outcome.flow_id)
    problems = [f"event {each['version']}: {each['message']}" for each in audit["violations"]]
    return Check("log", f"{outcome.tally.events:,} events audited, every invariant holds", problems)


def _compare(outcome: Outcome, state: Mapping[str, Any]) -> list[str]:
    """Counts everything once more in this process."""
    problems = plain.check(outcome.result)
    if outcome.request.is_deep:
        values = {name: state["attributes"][name][0]["value"] for name in ("modules", "ranking")}
        profile = steps.profile_heavy_modules(values["modules"], values["ranking"], deep=True)
        problems += [] if outcome.result["profile"] == profile else ["profile: not what one process came to"]
    return problems


async def _left_in_queues(app: Argyll) -> list[str]:
    """Waits until the queues are empty, and says what is left in them when they never are."""
    deadline_s = time.monotonic() + SETTLE_LIMIT_MS / 1000
    while True:
        queues: Any = (await app.queue_stats())["queues"]
        left = [
            f"queue {each['queue']} is not empty: {each['depth']} wait, {each['in_flight']} in flight, "
            f"{each['due']} due"
            for each in queues
            if each["depth"] or each["in_flight"] or each["due"]
        ]
        if not left or time.monotonic() > deadline_s:
            return left
        await asyncio.sleep(TICK_MS / 1000)
