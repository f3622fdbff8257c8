"""The loop with virtual time: it jumps, holds back who is paused, forgets who is dead, and never waits."""

from __future__ import annotations

import asyncio
import threading
from itertools import count
from typing import Any

import pytest

from argyll_redis.testing.virtual import NothingToDo, TookTooLong, VirtualLoop, run_virtual


async def ticks(loop: VirtualLoop, seen: list[int]) -> None:
    while True:
        await asyncio.sleep(1)
        seen.append(loop.now_ms())


def test_an_hour_passes_at_once() -> None:
    async def main(loop: VirtualLoop) -> int:
        await asyncio.sleep(3_600)
        return loop.now_ms()

    assert run_virtual(main, limit_ms=4_000_000) == 3_600_000


def test_timers_ring_in_the_order_of_their_times_then_of_their_setting() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        rung: list[str] = []
        for name, delay in (("c", 0.2), ("a", 0.1), ("b", 0.1)):
            loop.call_later(delay, rung.append, name)
        loop.call_later(0.1, rung.append, "never").cancel()
        await asyncio.sleep(1)
        return rung

    assert run_virtual(main) == ["a", "b", "c"]


def test_a_timeout_ends_a_wait() -> None:
    async def main(loop: VirtualLoop) -> int:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.Event().wait()
        return loop.now_ms()

    assert run_virtual(main) == 2_500


def test_a_paused_process_rings_late_and_the_others_go_on() -> None:
    async def main(loop: VirtualLoop) -> tuple[list[int], list[int]]:
        mine, others = list[int](), list[int]()
        process = loop.process("paused")
        process.spawn(ticks(loop, mine))
        loop.process("other").spawn(ticks(loop, others))
        await asyncio.sleep(1.5)
        process.pause(2_000)
        await asyncio.sleep(3)
        return mine, others

    assert run_virtual(main) == ([1_000, 3_500, 4_500], [1_000, 2_000, 3_000, 4_000])


def test_what_wakes_a_paused_process_wakes_it_when_it_goes_on() -> None:
    async def main(loop: VirtualLoop) -> int:
        event = asyncio.Event()

        async def wait() -> int:
            await event.wait()
            return loop.now_ms()

        process = loop.process("paused")
        waiting = process.spawn(wait())
        await asyncio.sleep(0.1)
        process.pause(500)
        event.set()
        return await waiting

    assert run_virtual(main) == 600


def test_nothing_of_a_dead_process_runs() -> None:
    async def main(loop: VirtualLoop) -> list[int]:
        seen: list[int] = []
        process = loop.process("dead")

        async def spawning() -> None:
            try:
                await ticks(loop, seen)
            finally:
                asyncio.get_running_loop().create_task(ticks(loop, seen))

        process.spawn(spawning())
        await asyncio.sleep(2.5)
        process.kill()
        await asyncio.sleep(10)
        return seen

    assert run_virtual(main) == [1_000, 2_000]


def test_a_dead_process_that_was_paused_ends_all_the_same() -> None:
    async def main(loop: VirtualLoop) -> bool:
        process = loop.process("dead")
        task = process.spawn(asyncio.sleep(100))
        await asyncio.sleep(1)
        process.pause(5_000)
        process.kill()
        await asyncio.wait([task])
        return task.cancelled() and loop.now_ms() == 1_000

    assert run_virtual(main)


def test_a_deadlock_is_an_error() -> None:
    async def main(loop: VirtualLoop) -> None:
        await asyncio.sleep(1)
        await asyncio.Event().wait()

    with pytest.raises(NothingToDo, match="at 1000 ms"):
        run_virtual(main)


async def _sleep_on(loop: VirtualLoop) -> None:
    for _ in count():
        await asyncio.sleep(1)


async def _spin(loop: VirtualLoop) -> None:
    for _ in count():
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("main", "limits"), [(_sleep_on, {"limit_ms": 5_000}), (_spin, {"limit_callbacks": 100})]
)
def test_a_run_without_end_is_an_error(main: Any, limits: dict[str, int]) -> None:
    with pytest.raises(TookTooLong):
        run_virtual(main, **limits)


def test_errors_that_nobody_takes_are_kept() -> None:
    async def main(loop: VirtualLoop) -> list[str]:
        loop.call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)
        return loop.complaints

    [complaint] = run_virtual(main)
    assert "ZeroDivisionError" in complaint


def test_threads_are_refused() -> None:
    async def main(loop: VirtualLoop) -> list[BaseException]:
        errors: list[BaseException] = []

        def call() -> None:
            try:
                loop.call_soon_threadsafe(print)
            except RuntimeError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        return errors

    [error] = run_virtual(main)
    assert "knows no threads" in str(error)
