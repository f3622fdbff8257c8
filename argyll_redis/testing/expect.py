"""What is expected of a flow, held against what it came to: each difference is a line of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argyll_redis.testing.flow_view import FlowView


def differences(
    view: FlowView,
    *,
    result: Mapping[str, Any] | None,
    failed: str | None,
    root_cause: Any,
    waits: Sequence[Any] | None,
    ran: Sequence[Any] | None,
    skipped: Sequence[Any] | None,
    calls: Mapping[Any, int] | None,
    attempts: Mapping[Any, int] | None,
    retried_after_ms: Mapping[Any, Sequence[int]] | None,
    why: Mapping[Any, str] | None,
    events: Sequence[str] | None,
) -> list[str]:
    """Gives what differs, in the order of the arguments; what is None is not looked at."""
    found: list[str] = []
    is_failed = failed is not None or root_cause is not None
    status = "failed" if is_failed else "completed" if waits is None else "active"
    found += _differs("status", view.status, status)
    if result is not None:
        found += _differs("result", view.result, dict(result))
    if failed is not None:
        found += _lacks("error", [view.error or ""], failed)
    if root_cause is not None:
        cause = view.root_cause
        found += _differs("root cause", cause and cause["step"], view.step_id(root_cause))
    if waits is not None:
        found += _differs("waits", sorted(view.waits), sorted(map(view.step_id, waits)))
    if ran is not None:
        found += _differs("ran", sorted(view.ran), sorted(map(view.step_id, ran)))
    if skipped is not None:
        found += _differs("skipped", sorted(view.skipped), sorted(map(view.step_id, skipped)))
    for step, count in (calls or {}).items():
        found += _differs(f"calls of {view.step_id(step)}", len(view.calls_of(step)), count)
    for step, count in (attempts or {}).items():
        found += _differs(f"attempts of {view.step_id(step)}", view.attempts_of(step), count)
    for step, delays in (retried_after_ms or {}).items():
        what = f"retries of {view.step_id(step)} after ms"
        found += _differs(what, view.retried_after_ms(step), list(delays))
    for step, text in (why or {}).items():
        found += _lacks(f"why of {view.step_id(step)}", view.why(step), text)
    if events is not None:
        found += _out_of_order([str(event["type"]) for event in view.events], events)
    return found


def _differs(what: str, actual: object, expected: object) -> Iterator[str]:
    if actual != expected:
        yield f"{what}: expected {expected!r}, got {actual!r}"


def _lacks(what: str, texts: Sequence[str], part: str) -> Iterator[str]:
    if not any(part in text for text in texts):
        yield f"{what}: expected a text with {part!r}, got {'; '.join(texts)!r}"


def _out_of_order(types: Sequence[str], expected: Sequence[str]) -> Iterator[str]:
    """The first expected type that does not come after those before it."""
    rest = iter(types)
    for type in expected:
        if type not in rest:
            yield f"events: expected {type!r} in this order {list(expected)!r}, got {list(types)!r}"
            return
