"""A flow told command by command, with its log: what tests of explaining and auditing start from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from definitions import catalog

from argyll_redis.core.audit import Violation, audit_log
from argyll_redis.core.commands import (
    Accepted,
    Broken,
    Cancel,
    Command,
    Expire,
    Look,
    Lose,
    Outcome,
    Report,
    Retry,
    Start,
    Succeeded,
    TimeOut,
    Unfinished,
)
from argyll_redis.core.decide import Decision, decide
from argyll_redis.core.events import Recorded
from argyll_redis.core.explain import Explained, explain
from argyll_redis.core.model import JSON, RetryDefaults, Script, StepId, Token
from argyll_redis.core.plan import make_plan
from argyll_redis.core.state import Flow, token_of
from argyll_redis.errors import ScriptError

SEED = "5e" * 16
WORK, OUTSIDE, TIMER, WEBHOOK = "work:engine-1", "operator:client-1", "timer:engine-1", "webhook:client-1"
SCRIPTS: Mapping[str, Callable[[Any], bool]] = {
    "yes": lambda _: True,
    "no": lambda _: False,
    "odd": lambda inputs: inputs["xs"] % 2 == 1,
    "return value == true": lambda value: value is True,
}
"""What the scripts of tests mean; any other raises, and so does one that can't cope."""


class Scripts:
    """Evaluates the scripts of tests."""

    def predicate(self, script: Script, inputs: Mapping[str, JSON]) -> bool:
        return self._run(script, inputs)

    def match(self, script: Script, value: JSON) -> bool:
        return self._run(script, value)

    def mapping(self, script: Script, value: JSON, *, inner: str, is_list: bool = False) -> JSON:
        del inner, is_list
        return self._run(script, value)

    def _run(self, script: Script, value: JSON) -> Any:
        try:
            return SCRIPTS[script.script](value)
        except (KeyError, TypeError) as error:
            raise ScriptError(f"cannot run {script.script}") from error


def script(text: str) -> dict[str, str]:
    return {"language": "lua", "script": text}


def each(name: str, *others: str) -> dict[str, Any]:
    """Specs of required inputs whose elements are work items."""
    spec = {"role": "required", "type": "array", "required": {"for_each": True}}
    return dict.fromkeys((name, *others), spec)


class Story:
    """A flow, its log, and a clock that stands still until it is told to go on."""

    def __init__(
        self,
        definitions: Iterable[dict[str, Any]],
        goals: str,
        init: Mapping[str, list[Any]] | None = None,
        **start: Any,
    ) -> None:
        self.flow = Flow("flow-1")
        self.events: list[Recorded] = []
        self.now_ms = 1_000
        self.decision: Decision
        given = dict(init or {})
        plan = make_plan(catalog(*definitions), goals.split(), given, RetryDefaults())
        self.tell(Start("start:client-1", plan, "hash", SEED, given, **start))

    def tell(self, *commands: Command, after: int = 0) -> Decision:
        """Decides commands as one transaction, some ms later, and keeps what was decided."""
        self.now_ms += after
        decision = decide(self.flow, commands, now_ms=self.now_ms, evaluate=Scripts())
        tx, count, version = f"t{self.flow.version}", len(decision.events), self.flow.version
        for place, (event, cause, by) in enumerate(decision.events, 1):
            self.events.append(Recorded(version + place, self.now_ms, cause, by, tx, place, count, event))
        decision.keep(at=self.now_ms, tx=tx)
        self.decision = decision
        return decision

    def look(self, *, after: int = 0) -> None:
        """Looks as often as something is left."""
        self.tell(Look(TIMER), after=after)
        while self.decision.left:
            self.tell(Look(TIMER))

    # ----------------------------------------------------------------- outcomes

    def token(self, step: str, item: int = 0) -> Token:
        return token_of(SEED, StepId(step), item)

    def report(
        self,
        step: str,
        outcome: Outcome,
        *,
        item: int = 0,
        attempt: int | None = None,
        by: str = WORK,
        after: int = 0,
    ) -> None:
        token = self.token(step, item)
        known = self.flow.item(StepId(step), item)
        if attempt is None and by == WORK:
            attempt = known.attempt if known else 0
        version = self.released(token, attempt) if by == WORK else 0
        self.tell(Report(by, token, outcome, attempt, version), after=after)

    def released(self, token: Token, attempt: int | None) -> int:
        """The version at which an attempt was released."""
        for recorded in self.events:
            event: Any = recorded.event
            if event.type == "work_started" and (event.token, event.attempt) == (token, attempt):
                return recorded.version
        return 0

    def succeed(self, step: str, item: int = 0, *, by: str = WORK, after: int = 0, **outputs: Any) -> None:
        self.report(step, Succeeded(outputs, 1), item=item, by=by, after=after)

    def fall(self, step: str, error: str = "no", *, item: int = 0, wait_ms: int | None = None) -> None:
        """The attempt is not completed."""
        self.report(step, Unfinished(error, wait_ms), item=item)

    def fail(self, step: str, error: str = "boom", *, item: int = 0, by: str = WORK, after: int = 0) -> None:
        self.report(step, Broken(error), item=item, by=by, after=after)

    def accept(self, step: str, *, item: int = 0, elapsed_ms: int = 0) -> None:
        self.report(step, Accepted(elapsed_ms), item=item)

    def lose(self, step: str, *, item: int = 0, after: int = 0) -> None:
        """The engine of the current attempt is lost."""
        self.tell(Lose(TIMER, self.token(step, item), self._attempt(step, item)), after=after)

    def retry(self, step: str, *, item: int = 0, after: int = 0) -> None:
        self.tell(Retry(TIMER, self.token(step, item), self._attempt(step, item) + 1), after=after)

    def expire(self, step: str, *, item: int = 0, after: int = 0) -> None:
        self.tell(Expire(TIMER, self.token(step, item), self._attempt(step, item)), after=after)

    def cancel(self) -> None:
        self.tell(Cancel(OUTSIDE))

    def time_out(self, *, after: int = 0) -> None:
        self.tell(TimeOut(TIMER), after=after)

    def _attempt(self, step: str, item: int) -> int:
        known = self.flow.item(StepId(step), item)
        assert known is not None
        return known.attempt

    # ------------------------------------------------------------------ reading

    def version(self, type_: str, **fields: Any) -> int:
        """The version of the last event of a type with some fields."""
        return max(
            recorded.version
            for recorded in self.events
            if recorded.event.type == type_
            and all(getattr(recorded.event, name) == value for name, value in fields.items())
        )

    def explain(
        self,
        step: str,
        *,
        after: int = 0,
        handlers: Collection[str] | None = None,
        queues: Collection[str] | None = None,
    ) -> Explained:
        now_ms = self.now_ms + after
        return explain(self.flow.id, self.events, step, now_ms=now_ms, handlers=handlers, queues=queues)

    def audit(self, events: list[Recorded] | None = None, **head: Any) -> list[Violation]:
        """Audits the log, or another in its place, against the head that goes with the log."""
        told = {
            "head_version": self.flow.version,
            "head_tx": self.flow.last_tx,
            "status": str(self.flow.status),
            "sealed": self.flow.is_deactivated,
            **head,
        }
        return audit_log(self.flow.id, self.events if events is None else events, **told)
