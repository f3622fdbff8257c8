"""The judge sees what is wrong: a namespace and journals that are well, and each thing that may not be."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio as async_redis

from argyll_redis import Argyll
from tests.chaos.engines import EngineOptions, Engines
from tests.chaos.journals import Journal
from tests.chaos.judge import judge, left
from tests.chaos.report import Report
from tests.chaos.shapes import Shape

pytestmark = pytest.mark.anyio

DOUBLED = Shape("doubled", ("double",), lambda a: {"doubled": 2 * a})
TRIPLED = Shape("tripled", ("double",), lambda a: {"doubled": 3 * a})


class Scene:
    """One flow that has ended, and what its step and its client have journalled."""

    def __init__(self, server: Any, directory: Path) -> None:
        self.namespace: str = server.namespace
        self.app = Argyll(server.url, server.namespace)
        self.client: Any = async_redis.Redis.from_url(server.url, protocol=2)
        self.journals = directory
        self.calls = Journal(directory / "calls-1.jsonl")
        self.answers = Journal(directory / "answers-1.jsonl")
        self.forged = Journal(directory / "forged-1.jsonl")
        self.call: dict[str, Any] = {}

    async def play(self) -> None:
        """Runs the flow to its end."""

        @self.app.step(outputs="doubled")
        async def double(a: int, ctx: Any) -> int:
            call = {"flow": ctx.flow_id, "step": ctx.step_id, "token": ctx.token, "attempt": ctx.attempt}
            self.call = {**call, "at": time.time_ns() // 1_000_000}
            self.calls.note(**self.call)
            return 2 * a

        async def story() -> None:
            await (await self.app.start(["double"], {"a": 1}, id="f")).result()

        await self.app.run(until=story)
        self.answers.note(do="start", flow="f", answer="ok")

    async def judged(self, expected: dict[str, tuple[int, Shape]]) -> list[str]:
        """What the judge finds wrong, each by its first words."""
        report = Report("gate", 1, 1)
        engines = Engines(self.journals, self.journals, self.namespace, EngineOptions())
        await judge(
            report, self.app, self.client, self.namespace, self.journals, expected=expected, engines=engines
        )
        return report.wrong


@pytest.fixture
async def scene(real_server: Any, tmp_path: Path) -> AsyncIterator[Scene]:
    scene = Scene(real_server, tmp_path)
    try:
        await scene.play()
        yield scene
    finally:
        await scene.app.close()
        await scene.client.aclose()


async def test_nothing_is_wrong_with_a_flow_that_came_to_what_it_had_to(scene: Scene) -> None:
    assert await scene.judged({"f": (1, DOUBLED)}) == []
    assert (await left(scene.client, scene.namespace)).is_nothing


async def test_another_result_is_seen(scene: Scene) -> None:
    wrong = await scene.judged({"f": (1, TRIPLED)})
    assert wrong == ["tripled f came to {'doubled': 2}, not {'doubled': 3}"]


async def test_a_flow_that_was_acknowledged_and_is_not_there_is_seen(scene: Scene) -> None:
    wrong = await scene.judged({"f": (1, DOUBLED), "g": (1, DOUBLED)})
    assert wrong == ["flow g was acknowledged and is not there"]


async def test_a_flow_that_nobody_asked_for_is_seen(scene: Scene) -> None:
    assert await scene.judged({}) == ["flows that nobody asked for: ['f']"]


async def test_a_call_that_was_made_twice_is_seen(scene: Scene) -> None:
    scene.calls.note(**scene.call)
    [wrong] = await scene.judged({"f": (1, DOUBLED)})
    assert wrong.startswith("audit: I-23 f at ")


async def test_a_forged_webhook_that_was_taken_and_a_true_one_that_was_refused_are_seen(scene: Scene) -> None:
    line = {"flow": "f", "step": "double", "token": scene.call["token"]}
    scene.forged.note(**line, answer="ok")
    scene.answers.note(do="webhook", **line, answer="refused")
    wrong = await scene.judged({"f": (1, DOUBLED)})
    assert [words.partition(":")[0] for words in wrong] == [
        "a forged webhook was taken",
        "a webhook was refused",
    ]


async def test_an_entry_that_is_left_in_a_queue_is_counted(scene: Scene) -> None:
    await scene.client.zadd(f"{{{scene.namespace}:3}}:due", {"control f look": 1})
    assert (await left(scene.client, scene.namespace)).entries == 1
