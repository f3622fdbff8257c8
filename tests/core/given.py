"""Given steps and values, when this happens, then that is decided: flows of the pure core by hand.

A `World` holds one flow as a store and engines would: its log, its state, and the effects that are
still pending (released work, due entries, control entries). Each action decides commands, commits
the events at the world's own time, and gives what happened as a list of short lines:

    world = World(step("load", "id", "order"), step("bill", "order", "receipt"), goals="bill", id=[7])
    assert world.succeed("load", order={}) == [...]

Nothing here reads a clock, and nothing is left to chance.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from definitions import catalog_of, step

from argyll_redis.core import events as e
from argyll_redis.core.commands import (
    Abandon,
    Accepted,
    Answer,
    Broken,
    Cancel,
    CancelChildren,
    Command,
    Deadline,
    Expire,
    Look,
    Lose,
    LoseUndo,
    Outcome,
    Report,
    ReportUndo,
    Retry,
    RetryUndo,
    Start,
    Succeeded,
    TimeOut,
    Unfinished,
)
from argyll_redis.core.decide import Decision, decide, evolve
from argyll_redis.core.events import Recorded
from argyll_redis.core.inputs import initial_gates
from argyll_redis.core.model import JSON, Plan, RetryDefaults, Script, StepId, Token
from argyll_redis.core.outbox import UNDO, Control, Effect, Release, Settled, Timer, outbox
from argyll_redis.core.plan import make_plan
from argyll_redis.core.state import Flow, StepRun, WorkItem, token_of
from argyll_redis.core.values import MISSING, Missing
from argyll_redis.errors import ScriptError

__all__ = ["World", "each", "gate", "line", "named", "plan_for", "script", "step"]

SEED = "5eed" * 8
START_MS = 1_000_000
ENGINE = "work:e1"
WEBHOOK = "webhook:w1"
OPERATOR = "operator:o1"
TIMER = "timer:e1"


# ------------------------------------------------------------------- attributes


def each(inner: str = "", *, role: str = "required", **given: Any) -> dict[str, Any]:
    """The spec of a `for_each` input, perhaps under an inner name."""
    return named(inner, role=role, for_each=True, **given)


def named(inner: str = "", *, role: str = "required", type: str = "", **given: Any) -> dict[str, Any]:
    """The spec of an attribute, perhaps with a declared type and under an inner name."""
    if inner:
        given["mapping"] = {"name": inner}
    return {"role": role, role: given, **({"type": type} if type else {})}


# ---------------------------------------------------------------------- scripts


def gate(source: str, *, collect: str = "first") -> dict[str, Any]:
    """The spec of a required input with a match."""
    return named(collect=collect, match=script(source))


def script(source: str) -> dict[str, str]:
    """A script of these tests: a Python expression over the inputs, or over `value`; `fail()` raises,
    `odd(names)` holds for half of all inputs, `nothing` is what a path that finds nothing gives."""
    return {"language": "lua", "script": source}


def _fail() -> None:
    raise ValueError("no")


def _odd(names: Mapping[str, JSON]) -> bool:
    """Half of all inputs, whatever they are."""
    return sum(repr(sorted(names.items())).encode()) % 2 == 1


class Scripts:
    """Evaluates the scripts of these tests, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []

    def predicate(self, script: Script, inputs: Mapping[str, JSON]) -> bool:
        return self._ask(script.script, dict(inputs))

    def match(self, script: Script, value: JSON) -> bool:
        return self._ask(script.script, {"value": value})

    def mapping(self, script: Script, value: JSON, *, inner: str, is_list: bool = False) -> JSON | Missing:
        del is_list
        return self._eval(script.script, {"value": value, inner: value})

    def _ask(self, source: str, names: dict[str, Any]) -> bool:
        return bool(self._eval(source, names))

    def _eval(self, source: str, names: dict[str, Any]) -> Any:
        self.asked.append((source, names))
        try:
            return eval(source, {"fail": _fail, "odd": _odd, "names": names, "nothing": MISSING}, names)
        except Exception as error:
            raise ScriptError(f"{type(error).__name__}: {error}") from error


# ------------------------------------------------------------------------ lines


def line(flow: Flow, event: e.Event) -> str:
    """One event in short: its type, the step and the item, and what makes it differ from its like."""
    data = event.data()
    words = [event.type]
    if "token" in data:
        words.append(_named(flow, data))
        words += [f"#{data['attempt']}"] if "attempt" in data else []
        words += [str(data[key]) for key in ("reason", "delay_ms", "timeout_ms") if key in data]
    elif isinstance(event, e.DeadlineStarted | e.DeadlinePassed):
        words.append(f"{data['step']} {data['name']}")
        words += [str(data["delay_ms"])] if "delay_ms" in data else []
    elif isinstance(event, e.AttributeSet):
        words.append(f"{data['name']} by {data['step']}")
    elif "step" in data:
        words.append(data["step"])
        words += [data["reason"]] if "reason" in data else []
    text = " ".join(words)
    return f"{text}: {data['error']}" if "error" in data else text


def _named(flow: Flow, data: Mapping[str, JSON]) -> str:
    """`step` for a step with one item, `step[2]` for one of several."""
    step, index = flow.tokens[data["token"]]
    return step if flow.steps[step].size == 1 else f"{step}[{index}]"


# ------------------------------------------------------------------------ world


class World:
    """One flow, its log and its pending effects, driven by hand."""

    def __init__(
        self,
        *definitions: Mapping[str, Any],
        goals: str,
        init: Mapping[str, list[JSON]] | None = None,
        linger_ms: int = 3_600_000,
        timeout_ms: int = 0,
        compensate: str | None = None,
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, JSON] | None = None,
        **values: JSON,
    ) -> None:
        """Plans and starts: `goals` are ids with blanks between, keywords give one value each."""
        self.scripts = Scripts()
        self.now_ms = START_MS
        self.flow = Flow("f1")
        self.log: list[Recorded] = []
        self.work: dict[str, str] = {}
        """Payload to queue, of released attempts that nobody has answered."""
        self.due: dict[str, int] = {}
        """Member to due time."""
        self.control: list[str] = []
        self.answer = Answer(counted=False)
        """To the last command."""
        given: dict[str, list[JSON]] = {**{name: [value] for name, value in values.items()}, **(init or {})}
        self.plan = plan_for(definitions, goals, given)
        self.start = Start(
            by="start:c1",
            plan=self.plan,
            plan_hash="plan-hash",
            seed=SEED,
            init=given,
            linger_ms=linger_ms,
            timeout_ms=timeout_ms,
            compensate=compensate,
            labels=labels or {},
            metadata=metadata or {},
        )
        self.first = self.say(self.start)
        """What the start made happen."""

    # ---------------------------------------------------------------- deciding

    def decide(self, *commands: Command) -> Decision:
        """Decides and commits nothing."""
        return decide(self.flow, commands, now_ms=self.now_ms, evaluate=self.scripts)

    def say(self, *commands: Command) -> list[str]:
        """Decides commands together and commits what was decided; gives it as lines."""
        decision = self.decide(*commands)
        self.commit(decision)
        self.answer = decision.answers[-1]
        return [line(self.flow, each.event) for each in decision.events]

    def commit(self, decision: Decision) -> None:
        """Appends the events of a decision and does what the outbox asks."""
        effects = outbox(decision.draft, decision.events, left=decision.left, controls=decision.controls)
        first, tx = self.flow.version + 1, f"t{self.flow.version + 1}"
        count = len(decision.events)
        self.log += [
            Recorded(first + i, self.now_ms, each.cause, each.by, tx, i + 1, count, each.event)
            for i, each in enumerate(decision.events)
        ]
        decision.keep(at=self.now_ms, tx=tx)
        for effect in effects:
            self._do(effect)

    def _do(self, effect: Effect) -> None:
        match effect:
            case Release():
                self.work[effect.payload] = effect.queue
            case Control():
                self.control.append(effect.payload)
            case Timer():
                self.due[effect.member] = self.now_ms + effect.delay_ms
            case Settled():
                self.due.pop(effect.member, None)
            case _:
                pass

    # ----------------------------------------------------------------- outcomes

    def report(
        self, step: str, outcome: Outcome, *, item: int = 0, attempt: int | None = None, by: str = ENGINE
    ) -> list[str]:
        """Reports an outcome of a work item: of its current attempt, unless another is named."""
        found = self.item(step, item)
        current = found.attempt if found else 0
        if by == ENGINE and attempt is None:
            attempt = current
        version = found.started_version if found and by == ENGINE and attempt == current else 0
        if by == ENGINE:
            self.answered(step, item, current if attempt is None else attempt)
        return self.say(Report(by, self.token(step, item), outcome, attempt, version))

    def succeed(self, step: str, item: int = 0, **outputs: JSON) -> list[str]:
        return self.report(step, Succeeded(outputs), item=item)

    def fail(self, step: str, error: str = "broken", *, item: int = 0) -> list[str]:
        return self.report(step, Broken(error), item=item)

    def fall_short(
        self, step: str, error: str = "not yet", *, item: int = 0, after_ms: int | None = None
    ) -> list[str]:
        """Reports "not completed"."""
        return self.report(step, Unfinished(error, after_ms), item=item)

    def accept(self, step: str, *, item: int = 0, elapsed_ms: int = 0) -> list[str]:
        return self.report(step, Accepted(elapsed_ms), item=item)

    def complete(self, step: str, item: int = 0, *, by: str = OPERATOR, **outputs: JSON) -> list[str]:
        """Completes a work item from outside, by its token alone."""
        return self.report(step, Succeeded(outputs), item=item, by=by)

    def lose(self, step: str, *, item: int = 0) -> list[str]:
        """Loses the engine of the current attempt."""
        found = self.item(step, item)
        assert found is not None
        self.answered(step, item, found.attempt)
        return self.say(Lose(ENGINE, found.token, found.attempt))

    def report_undo(
        self, step: str, outcome: Outcome, *, item: int = 0, attempt: int | None = None
    ) -> list[str]:
        """Reports an outcome of an attempt to undo an item: of the current one, unless another is named."""
        found = self.item(step, item)
        assert found is not None
        assert found.undo is not None
        attempt = found.undo.attempt if attempt is None else attempt
        self.answered(step, item, attempt, UNDO)
        version = found.undo.version if attempt == found.undo.attempt else 0
        return self.say(ReportUndo(ENGINE, found.token, outcome, attempt, version))

    def undo(self, step: str, item: int = 0) -> list[str]:
        """Reports that an item is undone."""
        return self.report_undo(step, Succeeded({}, 3), item=item)

    def lose_undo(self, step: str, *, item: int = 0) -> list[str]:
        """Loses the engine of the current attempt to undo an item."""
        found = self.item(step, item)
        assert found is not None
        assert found.undo is not None
        self.answered(step, item, found.undo.attempt, UNDO)
        return self.say(LoseUndo(ENGINE, found.token, found.undo.attempt))

    def undoing(self) -> list[str]:
        """The items that are released to be undone, as `step` or `step[2]`."""
        tokens = [entry_of(payload)[0] for payload in self.work if is_undo(payload)]
        return [_named(self.flow, {"token": token}) for token in tokens]

    def abandon(self, step: str, *, item: int = 0) -> list[str]:
        """Says that an attempt was released and is not begun, as nobody waits for it any more."""
        found = self.item(step, item)
        assert found is not None
        self.answered(step, item, found.attempt)
        return self.say(Abandon(ENGINE, found.token, found.attempt))

    def cancel(self) -> list[str]:
        return self.say(Cancel(OPERATOR))

    def look(self) -> list[str]:
        return self.say(Look(TIMER))

    def answered(self, step: str, item: int, attempt: int, suffix: str = "") -> None:
        """Acknowledges the entry of an attempt, as the turn does that answers it."""
        name = f"{self.flow.id} {self.token(step, item)}{suffix} {attempt} "
        for payload in [payload for payload in self.work if payload.startswith(name)]:
            del self.work[payload]

    # --------------------------------------------------------------------- time

    def wait(self, ms: int, *, turn: Callable[[str], Any] = str) -> list[str]:
        """Lets time pass; due entries are moved at their times and decided one by one, those of one
        time in the order that `turn` gives their members."""
        happened: list[str] = []
        until = self.now_ms + ms
        while self.due and (first := min(self.due.values())) <= until:
            self.now_ms = max(self.now_ms, first)
            member = min((member for member, at in self.due.items() if at == first), key=turn)
            del self.due[member]
            happened += self.say(command_of(member.partition(" ")[2]))
        self.now_ms = until
        return happened

    def look_on(self) -> list[str]:
        """Decides the control entries that bounded turns have left, until there are none."""
        happened: list[str] = []
        while self.control:
            happened += self.say(command_of(self.control.pop(0)))
        return happened

    # ------------------------------------------------------------------ reading

    def token(self, step: str, item: int = 0) -> Token:
        return token_of(SEED, StepId(step), item)

    def item(self, step: str, index: int = 0) -> WorkItem | None:
        return self.flow.item(StepId(step), index)

    def run(self, step: str) -> StepRun:
        return self.flow.steps[StepId(step)]

    def statuses(self) -> dict[str, str]:
        return {id: str(run.status) for id, run in self.flow.steps.items()}

    def values(self, attribute: str) -> list[JSON]:
        return [value.value for value in self.flow.values(attribute)]

    def events(self, type: str) -> list[e.Event]:
        return [recorded.event for recorded in self.log if recorded.event.type == type]

    def last(self, type: str) -> Recorded:
        """The last event of a type."""
        return [recorded for recorded in self.log if recorded.event.type == type][-1]

    def inputs(self, step: str) -> dict[str, JSON]:
        """What a step got, by inner name."""
        return dict(self.run(step).inputs)

    def lines(self) -> list[str]:
        """The whole log."""
        return [line(self.flow, recorded.event) for recorded in self.log]

    def refold(self) -> Flow:
        """The state that the log alone gives."""
        return evolve(Flow(self.flow.id), self.log)


def plan_for(
    definitions: Iterable[Mapping[str, Any]], goals: str, init: Mapping[str, Sequence[JSON]]
) -> Plan:
    """Plans goals (ids with blanks between) among steps, whether this version can run them or not."""
    catalog = catalog_of(dict(each) for each in definitions)
    return make_plan(catalog, goals.split(), init, RetryDefaults(), gate_open=initial_gates(Scripts()))


def entry_of(payload: str) -> tuple[Token, int, int]:
    """What an entry of released work names: token, attempt, and the version that released it."""
    _, token, attempt, version = payload.split(" ")
    return Token(token.removesuffix(UNDO)), int(attempt), int(version)


def is_undo(payload: str) -> bool:
    """Whether an entry of released work is a compensation."""
    return payload.split(" ")[1].endswith(UNDO)


def report_of(payload: str, outcome: Outcome) -> Command:
    """What the engine that has run an entry says of it."""
    token, attempt, version = entry_of(payload)
    if is_undo(payload):
        return ReportUndo(ENGINE, token, outcome, attempt, version)
    return Report(ENGINE, token, outcome, attempt, version)


def loss_of(payload: str) -> Command:
    """What is said of an entry whose engine is lost."""
    token, attempt, _ = entry_of(payload)
    return LoseUndo(ENGINE, token, attempt) if is_undo(payload) else Lose(ENGINE, token, attempt)


def command_of(payload: str) -> Command:
    """The command that a control entry stands for."""
    _, kind, *words = payload.split(" ")
    match kind:
        case "retry":
            return Retry(TIMER, Token(words[0]), int(words[1]))
        case "undo":
            return RetryUndo(TIMER, Token(words[0]), int(words[1]))
        case "expire":
            return Expire(TIMER, Token(words[0]), int(words[1]))
        case "deadline":
            return Deadline(TIMER, StepId(words[0]), " ".join(words[1:]))
        case "time_out":
            return TimeOut(TIMER)
        case "children":
            return CancelChildren(TIMER, StepId(words[0]), int(words[1]))
        case _:
            return Look(TIMER)
