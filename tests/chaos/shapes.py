"""Flows of many shapes, as one app: what the engines of a chaos run serve and its client starts."""

from __future__ import annotations

import asyncio
from typing import Any

from argyll_redis import AppConfig, Argyll, Failed, NotCompleted, Retry, StepContext

LEASE_MS = 1_500
QUICK = Retry(backoff="fixed", initial_ms=20)


def build(url: str, namespace: str) -> Argyll:
    """Declares the steps of all shapes."""
    app = Argyll(url, namespace, config=AppConfig(lease_ms=LEASE_MS))

    @app.step(outputs="b")
    async def chain_1(a: int) -> int:
        return a + 1

    @app.step(outputs="c", retry=QUICK)
    async def chain_2(b: int, ctx: StepContext) -> int:
        if ctx.attempt == 1 and b % 3 == 0:
            raise NotCompleted("every third is tried again")
        return b + 1

    @app.step(outputs="d")
    def chain_3(c: int) -> int:
        return c + 1

    @app.step(outputs="parts")
    async def split(a: int) -> list[int]:
        return list(range(a % 10 + 1))

    @app.step(outputs="squares", for_each="parts", parallelism=4)
    async def square(parts: int) -> int:
        await asyncio.sleep(0.005)
        return parts * parts

    @app.step(outputs="sum")
    async def join(squares: list[dict[str, Any]]) -> int:
        return sum(row["squares"] for row in squares)

    @app.step(id="source_1", outputs="found")
    async def source_1(a: int) -> int:
        if a % 2:
            raise Failed("only even numbers here")
        return a

    @app.step(id="source_2", outputs="found")
    async def source_2(a: int) -> int:
        return -a

    @app.step(outputs="used")
    async def use(found: int) -> int:
        return found

    @app.step(outputs="never")
    async def refuse(a: int) -> int:
        raise Failed(f"{a} is refused")

    return app


SHAPES: tuple[tuple[str, ...], ...] = (("chain_3",), ("join",), ("use",), ("chain_3", "join"), ("refuse",))
"""Goals of each shape; flows take them in turn."""
