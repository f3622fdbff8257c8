"""What people and outside systems do to a flow: complete, fail and put off its work, and end it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from argyll_redis.core.commands import (
    IMPORTED,
    Broken,
    Cancel,
    Command,
    Outcome,
    Report,
    Succeeded,
    Unfinished,
)
from argyll_redis.core.limits import MAX_ERROR_CHARS, MAX_EVENT_BYTES
from argyll_redis.core.model import JSON, StepId, Token
from argyll_redis.core.parse_request import read_flow_id
from argyll_redis.core.values import shown
from argyll_redis.errors import FlowImported, InvalidInput, Problem, UnknownFlow, UnknownToken
from argyll_redis.store.codec import check, encode

if TYPE_CHECKING:
    from argyll_redis.runtime.node import Node


class Outside:
    """Outcomes that come from elsewhere, and cancels; mixed into `Argyll`."""

    if TYPE_CHECKING:

        async def node(self) -> Node: ...

        def by(self, origin: str) -> str: ...

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

    async def receive(
        self, flow: str, step: str, token: str, outcome: Outcome, *, attempt: int | None = None
    ) -> bool:
        """Takes the outcome that a webhook brought; without an attempt it speaks for the current one.
        Answers as `complete` does. A permanent failure counts whatever its attempt."""
        match outcome:
            case Succeeded():
                outcome = outcome._replace(outputs=_read_outputs(outcome.outputs))
            case Broken() | Unfinished():
                outcome = outcome._replace(error=_read_error(outcome.error))
            case _:
                raise InvalidInput("a webhook brings a success, a failure, or a request to try again")
        return await self._report(flow, step, token, outcome, origin="webhook", attempt=attempt)

    async def _report(
        self,
        flow: str,
        step: str,
        token: str,
        outcome: Outcome,
        *,
        origin: str = "operator",
        attempt: int | None = None,
    ) -> bool:
        unknown = UnknownToken(f'no flow "{shown(flow)}" with a step "{shown(step)}" has this token')
        if not isinstance(step, str) or not isinstance(token, str):
            raise unknown
        command = Report(self.by(origin), Token(token), outcome, attempt, step=StepId(step.lower()))
        try:
            return await self._ask(flow, command)
        except UnknownFlow:
            raise unknown from None

    async def cancel(self, flow: str) -> bool:
        """Ends a flow as failed, with "cancelled"; True when that changed it. Raises `UnknownFlow`, and
        `FlowImported` for a flow that was imported before its end."""
        return await self._ask(flow, Cancel(self.by("operator")))

    async def _ask(self, flow: str, command: Command) -> bool:
        """Has a command decided; whether it counted. Raises `UnknownFlow` when it names nothing."""
        node = await self.node()
        answer = await node.committer.ask(read_flow_id(flow), command)
        if answer.unknown:
            raise UnknownFlow(f'no flow "{flow}" exists')
        if answer == IMPORTED:
            raise FlowImported(f'flow "{flow}" was imported: it is read, never run (restart it instead)')
        return answer.counted


def _read_ms(name: str, given: int | None) -> int | None:
    if given is None or (type(given) is int and given >= 0):
        return given
    raise InvalidInput(problems=[Problem(name, f"is {given!r:.40}", "use a whole number of ms")])


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
