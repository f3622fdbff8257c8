"""The work that is measured: flows of steps that do nothing, each in the shape of one kind of load.

A step that does nothing still costs all that a real one does: its start is committed before it runs,
its outcome before the next starts, and every event is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argyll_redis import Argyll

ITEMS = 100
"""Of the `for_each` step of W2; its parallelism, too."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Flows of one shape."""

    name: str
    work: str
    """What one flow does, for people."""
    goal: str
    result: Mapping[str, Any]
    """What every flow has to come to."""
    steps: int
    """Of one flow."""
    flows: int
    """Started at once, unless told otherwise."""
    declare: Callable[[Argyll], None]
    items: int | None = None
    """Of one flow's `for_each` step; None when it has none."""
    is_timed_alone: bool = False
    """Whether flows are also timed one at a time."""
    calls: int = 0
    """Of a service, that one flow makes."""
    define: Callable[[str], Sequence[dict[str, Any]]] | None = None
    """Gives the definitions of steps that call the service at a URL; None when there are none."""

    def app(self, url: str, namespace: str) -> Argyll:
        """Makes an app with the steps of this workload and no others."""
        app = Argyll(url, namespace)
        self.declare(app)
        return app

    def request(self) -> dict[str, Any]:
        """What one start asks for."""
        return {"goals": [self.goal], "init": {"x": 1}}


def _declare_one(app: Argyll) -> None:
    @app.step(outputs="a")
    async def only(x: int) -> int:
        return x


def _declare_chain(app: Argyll) -> None:
    @app.step(outputs="a")
    async def first(x: int) -> int:
        return x

    @app.step(outputs="b")
    async def second(a: int) -> int:
        return a

    @app.step(outputs="c")
    async def third(b: int) -> int:
        return b

    @app.step(outputs="d")
    async def fourth(c: int) -> int:
        return c

    @app.step(outputs="e")
    async def fifth(d: int) -> int:
        return d


def _define_chain(url: str) -> list[dict[str, Any]]:
    """As `_declare_chain`, of steps that call a service."""
    return [
        {
            "id": name,
            "type": "sync",
            "attributes": {takes: {"role": "required"}, gives: {"role": "output"}},
            "http": {"endpoint": f"{url}/{gives}"},
        }
        for name, takes, gives in zip(
            ("call-1", "call-2", "call-3", "call-4", "call-5"), "xabcd", "abcde", strict=True
        )
    ]


def _declare_items(app: Argyll) -> None:
    @app.step(outputs="items")
    async def give(x: int) -> list[int]:
        return [x] * ITEMS

    @app.step(outputs="done", for_each="items", parallelism=ITEMS)
    async def each(items: int) -> int:
        return items

    @app.step(outputs="total")
    async def join(done: list[dict]) -> int:  # an object for each item: what went in and what came out
        return sum(each["done"] for each in done)


def _declare_fan_in(app: Argyll) -> None:
    async def part(x: int) -> int:
        return x

    for number in range(10):
        app.step(part, id=f"part-{number}", outputs=f"a{number}")

    @app.step(outputs="total")
    async def join(
        a0: int, a1: int, a2: int, a3: int, a4: int, a5: int, a6: int, a7: int, a8: int, a9: int
    ) -> int:
        return a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9


_ALL = (
    Workload("W0", "one step", "only", {"a": 1}, steps=1, flows=2_000, declare=_declare_one),
    Workload(
        "W1", "a chain of 5 steps", "fifth", {"e": 1},
        steps=5, flows=2_000, declare=_declare_chain, is_timed_alone=True,
    ),
    Workload(
        "W2", f"a step that gives {ITEMS} items, a step for each of them, a join", "join", {"total": ITEMS},
        steps=3, flows=100, declare=_declare_items, items=ITEMS,
    ),
    Workload(
        "W3", "10 independent steps and a join", "join", {"total": 10},
        steps=11, flows=500, declare=_declare_fan_in,
    ),
    Workload(
        "W4", "a chain of 5 steps that call a service over HTTP", "call-5", {"e": 1},
        steps=5, flows=1_000, declare=lambda _: None, is_timed_alone=True, calls=5, define=_define_chain,
    ),
)  # fmt: skip

WORKLOADS: Mapping[str, Workload] = {workload.name: workload for workload in _ALL}
