"""Flows of many shapes: goals, what they must come to, and the steps that are definitions, not functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CALL_TIMEOUT_MS = 2_000
"""Longest call of a service; it hangs for longer on purpose, now and then."""
WEBHOOK_LIMIT_MS = 5_000
"""How long an async step's attempt waits for its outcome: some services forget."""

Expected = Callable[[int], dict[str, Any] | None]
"""From a flow's number to its result; None for a flow that must fail."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of flow."""

    name: str
    goals: tuple[str, ...]
    expected: Expected
    share: int = 1
    """How many of these for one of the others."""
    init: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Initial values beside its number, `a`."""


def _squares(a: int) -> int:
    return sum(part * part for part in range(a % 10 + 1))


def _cubes(a: int) -> int:
    return sum(part**3 for part in range(a % 10 + 1))


SHAPES: tuple[Shape, ...] = (
    Shape("chain", ("chain_3",), lambda a: {"d": a + 3}, share=2),
    Shape("fan-out", ("join",), lambda a: {"sum": _squares(a)}),
    Shape("alternatives", ("use",), lambda a: {"used": a}),
    Shape("two goals", ("chain_3", "join"), lambda a: {"d": a + 3, "sum": _squares(a)}),
    Shape("failure", ("refuse",), lambda a: None),
    Shape("compensation", ("book",), lambda a: None),
    Shape("sub-flows", ("add_up",), lambda a: {"total": _cubes(a)}),
    Shape("http", ("charge",), lambda a: {"receipt": f"r-{2 * a}"}, share=2),
    Shape("http compensation", ("pay",), lambda a: None),
    Shape("webhook", ("approve",), lambda a: {"approved": a}, share=2),
    Shape("deadline", ("guess",), lambda a: {"guessed": a}),
    Shape("memo", ("tariff",), lambda a: {"fee": a % 5 * 10}),
)

PLAIN = tuple(shape for shape in SHAPES if shape.name in ("chain", "fan-out", "alternatives", "two goals"))
"""Shapes that need no service and no webhook."""


def mixed(flows: int, shapes: tuple[Shape, ...] = SHAPES) -> list[tuple[str, int, Shape]]:
    """So many flows of all shapes in turn: id, number, shape."""
    turn = [shape for shape in shapes for _ in range(shape.share)]
    return [(f"mixed-{number}", number, turn[number % len(turn)]) for number in range(flows)]


def request(flow: str, number: int, shape: Shape) -> dict[str, Any]:
    """How a flow is started."""
    return {"id": flow, "goals": list(shape.goals), "init": {"a": number, **shape.init}}


# ------------------------------------------------------------------ definitions


def definitions(service: str) -> list[dict[str, Any]]:
    """Steps that are no python functions; `service` is the URL of the service that some of them call."""
    quick = {"init_backoff": 20, "backoff_type": "fixed", "max_retries": 20}
    http = {"timeout": CALL_TIMEOUT_MS}
    needed, given = {"role": "required"}, {"role": "output"}
    each = {"role": "required", "required": {"for_each": True}}
    return [
        {
            "id": "cube_each", "type": "flow", "flow": {"goals": ["cube"]},
            "attributes": {
                "parts": {"role": "required", "required": {"for_each": True, "mapping": {"name": "part"}}},
                "cube_of": {"role": "output", "output": {"mapping": {"name": "cubed"}}},
            },
            "work_config": {"parallelism": 4},
        },
        {
            "id": "quote", "type": "sync", "http": {"method": "PUT", "endpoint": f"{service}/quote", **http},
            "attributes": {"a": needed, "quote": given}, "work_config": quick,
        },
        {
            "id": "charge", "type": "sync",
            "http": {"endpoint": f"{service}/charge", "compensate": f"{service}/refund", **http},
            "attributes": {"quote": needed, "receipt": given}, "work_config": quick,
        },
        {
            "id": "pay", "type": "sync",
            "http": {"endpoint": f"{service}/pay", "compensate": f"{service}/refund", **http},
            "attributes": {"a": needed, "parts": each, "paid": given},
            "work_config": {**quick, "parallelism": 3},
        },
        {
            "id": "approve", "type": "async", "http": {"endpoint": f"{service}/approve", **http},
            "attributes": {"a": needed, "approved": given},
            "work_config": {**quick, "timeout": WEBHOOK_LIMIT_MS},
        },
        {
            "id": "guess", "type": "script", "script": {"language": "lua", "script": "return {guessed = a}"},
            "attributes": {
                "a": needed, "guessed": given,
                "hint": {"role": "optional", "optional": {"deadline": 200, "default": "0"}},
            },
        },
        {
            "id": "zone", "type": "script", "script": {"language": "lua", "script": "return {zone = a % 5}"},
            "attributes": {"a": needed, "zone": given},
            "predicate": {"language": "jpath", "script": "$.a"},
        },
        {
            "id": "tariff", "type": "script", "memoizable": True,
            "script": {"language": "lua", "script": "return {fee = zone * 10}"},
            "attributes": {"zone": needed, "fee": given},
        },
    ]  # fmt: skip
