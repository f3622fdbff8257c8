"""The work that is measured: flows of steps that do nothing, each in the shape of one kind of load.

A step that does nothing still costs all that a real one does: its start is committed before it runs,
its outcome before the next starts, and every event is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from argyll_redis import ACCEPTED, Argyll
from argyll_redis.config import AppConfig

ITEMS = 100
"""Of the `for_each` step of W2; its parallelism, too."""
WAIT_MS = 5
"""What each step of W6 and W7 waits for, as if for somebody else's answer."""
LAYERS = 10
"""Of the plans of W9."""
NOWHERE = "http://127.0.0.1:9"
"""Where steps that are only planned would call."""


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

    def app(self, url: str, namespace: str, *, lease_ms: int | None = None) -> Argyll:
        """Makes an app with the steps of this workload and no others."""
        config = AppConfig() if lease_ms is None else AppConfig(lease_ms=lease_ms)
        app = Argyll(url, namespace, config=config)
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


def _declare_waiting(app: Argyll) -> None:
    """As `_declare_chain`, of steps that wait for `WAIT_MS`."""

    @app.step(outputs="a")
    async def first(x: int) -> int:
        await asyncio.sleep(WAIT_MS / 1000)
        return x

    @app.step(outputs="b")
    async def second(a: int) -> int:
        await asyncio.sleep(WAIT_MS / 1000)
        return a

    @app.step(outputs="c")
    async def third(b: int) -> int:
        await asyncio.sleep(WAIT_MS / 1000)
        return b

    @app.step(outputs="d")
    async def fourth(c: int) -> int:
        await asyncio.sleep(WAIT_MS / 1000)
        return c

    @app.step(outputs="e")
    async def fifth(d: int) -> int:
        await asyncio.sleep(WAIT_MS / 1000)
        return d


def _declare_items(app: Argyll, items: int = ITEMS, parallelism: int = ITEMS) -> None:
    @app.step(outputs="items")
    async def give(x: int) -> list[int]:
        return [x] * items

    @app.step(outputs="done", for_each="items", parallelism=parallelism)
    async def each(items: int) -> int:
        return items

    @app.step(outputs="total")
    async def join(done: list[dict]) -> int:  # an object for each item: what went in and what came out
        return sum(each["done"] for each in done)


def _declare_outside(app: Argyll, items: int) -> None:
    """As `_declare_items`, but each item's outcome comes from outside."""

    @app.step(outputs="items")
    async def give(x: int) -> list[int]:
        return [x] * items

    @app.step(outputs="done", for_each="items", parallelism=items)
    async def each(items: int) -> int:
        return ACCEPTED  # type: ignore[return-value]

    @app.step(outputs="total")
    async def join(done: list[dict]) -> int:
        return sum(each["done"] for each in done)


def _define_layers(size: int) -> list[dict[str, Any]]:
    """Steps in layers: each but those of the first needs two of the layer before, the last one needs all
    of the last layer. They are planned and never called."""
    width = max(1, (size - 1) // LAYERS)
    layer: list[str] = ["x"]
    steps: list[dict[str, Any]] = []
    for number in range(size - 1):
        place = number % width
        if number and place == 0 and number // width < LAYERS:
            layer = [f"a{each}" for each in range(number - width, number)]
        needs = {layer[place % len(layer)], layer[(place + 1) % len(layer)]}
        steps.append(_planned(f"step-{number}", sorted(needs), f"a{number}"))
    read = {name for step in steps for name, spec in step["attributes"].items() if "required" in spec["role"]}
    unread = sorted({f"a{number}" for number in range(size - 1)} - read)
    return [*steps, _planned("join", unread, "total")]


def _planned(id: str, needs: Sequence[str], gives: str) -> dict[str, Any]:
    required = {name: {"role": "required"} for name in needs}
    return {
        "id": id,
        "type": "sync",
        "attributes": {**required, gives: {"role": "output"}},
        "http": {"endpoint": NOWHERE},
    }


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
"""Those whose flows are all alike: one row each in each layout."""


def _waiting() -> Workload:
    return Workload(
        "waiting", f"a chain of 5 steps that wait {WAIT_MS} ms each", "fifth", {"e": 1},
        steps=5, flows=1, declare=_declare_waiting,
    )  # fmt: skip


def _items(items: int, parallelism: int) -> Workload:
    return Workload(
        f"items:{items}:{parallelism}",
        f"a step that gives {items:,} items, a step for each of them, {parallelism:,} at a time, a join",
        "join", {"total": items},
        steps=3, flows=1, declare=lambda app: _declare_items(app, items, parallelism), items=items,
    )  # fmt: skip


def _outside(items: int) -> Workload:
    return Workload(
        f"outside:{items}", f"a step that gives {items:,} items, a step for each of them, a join",
        "join", {"total": items},
        steps=3, flows=1, declare=lambda app: _declare_outside(app, items), items=items,
    )  # fmt: skip


def _layers(size: int) -> Workload:
    return Workload(
        f"layers:{size}", f"a plan of {size:,} steps in {LAYERS} layers", "join", {},
        steps=size, flows=1, declare=lambda _: None, define=lambda _: _define_layers(size),
    )  # fmt: skip


SHAPES: Mapping[str, Callable[..., Workload]] = {
    "waiting": _waiting,
    "items": _items,
    "outside": _outside,
    "layers": _layers,
}
"""Those that take sizes: `items:10000:400` is a workload's name."""


def workload_of(name: str) -> Workload:
    """The workload of a name, with its sizes."""
    if name in WORKLOADS:
        return WORKLOADS[name]
    shape, *sizes = name.split(":")
    return SHAPES[shape](*map(int, sizes))
