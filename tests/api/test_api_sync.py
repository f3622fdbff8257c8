"""The sync facade: for scripts and notebooks, for threads, and inside plain steps."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from api_apps import Apps
from servers import TestServer, kinds

from argyll_redis import (
    ACCEPTED,
    Argyll,
    FlowConflict,
    FlowFailed,
    MissingInputs,
    StoreUnavailable,
    UnknownFlow,
)
from argyll_redis.sync import SyncFlow

ROOT = Path(__file__).parents[2]


def chain(app: Argyll) -> None:
    @app.step(outputs="b")
    def first(a: int) -> int:
        if a < 0:
            raise ArithmeticError("negative")
        return a + 1

    @app.step(outputs="approved")
    def ask(a: int) -> Any:
        return ACCEPTED


class Engine:
    """An engine in a thread of its own, of an app of its own."""

    def __init__(self, namespace: str) -> None:
        self._app = Argyll("memory://", namespace)
        self._may_end = threading.Event()
        self._ready = threading.Event()
        chain(self._app)
        self._thread = threading.Thread(target=self._app.sync.call, args=(self._run,))

    async def _run(self) -> None:
        import anyio

        await self._app.run(
            until=lambda: anyio.to_thread.run_sync(self._may_end.wait),
            on_ready=lambda *_: self._ready.set(),
        )

    def __enter__(self) -> Engine:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *exc: object) -> None:
        self._may_end.set()
        self._thread.join()
        self._app.sync.close()


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[Argyll]:
    name = f"sync-{request.node.name.replace('_', '-')}"[:60]
    app = Argyll("memory://", name)
    chain(app)
    with Engine(name):
        yield app
    app.sync.close()


def test_a_result_is_waited_for(app: Argyll) -> None:
    flow = app.sync.start(["first"], {"a": 1}, id="one", labels={"x": "y"})
    assert (flow.id, repr(flow)) == ("one", "SyncFlow('one')")
    assert flow.result(timeout_ms=20_000) == {"b": 2}
    assert flow.outcome() == {"id": "one", "status": "completed", "result": {"b": 2}, "error": None}
    assert flow.state()["labels"] == {"x": "y"}
    assert flow.state(at=1)["status"] == "active"
    assert app.sync.flow("one").result() == {"b": 2}


def test_events_come_one_by_one(app: Argyll) -> None:
    flow = app.sync.start(["first"], {"a": 1})
    types = [event["type"] for event in flow.events()]
    assert (types[0], types[-1]) == ("flow_started", "flow_deactivated")
    assert [event["type"] for event in flow.events(2, follow=False)] == types[2:]
    for event in flow.events():
        assert event["type"] == "flow_started"
        break


def test_errors_are_those_of_the_async_methods(app: Argyll) -> None:
    app.sync.start(["first"], {"a": 1}, id="one")
    with pytest.raises(FlowConflict):
        app.sync.start(["first"], {"a": 2}, id="one")
    with pytest.raises(MissingInputs):
        app.sync.start(["first"])
    with pytest.raises(UnknownFlow):
        app.sync.flow("nobody").result()
    with pytest.raises(UnknownFlow):
        next(app.sync.flow("nobody").events())
    failing = app.sync.start(["first"], {"a": -1})
    with pytest.raises(TimeoutError):
        failing.result(timeout_ms=20)
    assert failing.cancel() is True
    with pytest.raises(FlowFailed, match="cancelled"):
        failing.result()


def test_work_is_completed_failed_and_put_off(app: Argyll) -> None:
    flows = app.sync.start_many([{"goals": ["ask"], "init": {"a": a}} for a in range(3)] + [{"goals": []}])
    assert [type(flow) is SyncFlow for flow in flows] == [True, True, True, False]
    one, two, three = (flow for flow in flows if isinstance(flow, SyncFlow))

    def token(flow: SyncFlow) -> str:
        return next(e["data"]["token"] for e in flow.events() if e["type"] == "work_accepted")

    assert app.sync.complete(one.id, "ask", token(one), {"approved": 1})
    assert app.sync.fail(two.id, "ask", token(two), "no")
    assert app.sync.retry_later(three.id, "ask", token(three), "later", after_ms=60_000)
    assert app.sync.cancel(three.id)
    assert [flow.outcome()["status"] for flow in (one, two, three)] == ["completed", "failed", "failed"]


def test_many_threads_may_call_at_once(app: Argyll) -> None:
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda a: app.sync.start(["first"], {"a": a}).result(), range(40)))
    assert results == [{"b": a + 1} for a in range(40)]
    assert len([t for t in threading.enumerate() if t.name.startswith("asyncio-portal")]) == 2


def test_it_begins_anew_after_it_was_closed(app: Argyll) -> None:
    for _ in range(2):
        flow = app.sync.start(["first"], {"a": 1}, id="one")
        assert flow.result() == {"b": 2}
        app.sync.close()
        app.sync.close()


def test_any_async_method_can_be_called(app: Argyll) -> None:
    app.sync.start(["first"], {"a": 1}, id="one").result()
    assert app.sync.call(app.status, "one") == {"id": "one", "status": "completed"}


def test_an_unreachable_server_is_called_so() -> None:
    app = Argyll("redis://127.0.0.1:1")
    with pytest.raises(StoreUnavailable, match=r"cannot reach redis at 127.0.0.1:1"):
        app.sync.start(["x"])
    app.sync.close()


@pytest.mark.anyio
async def test_a_plain_step_may_start_flows_and_wait_for_them(memory: Apps) -> None:
    app = memory()
    chain(app)

    @app.step(outputs="sum")
    def both(numbers: list[int]) -> int:
        flows = [app.sync.start(["first"], {"a": number}) for number in numbers]
        return sum(flow.result()["b"] for flow in flows)

    await memory.run(app, concurrency=4)
    flow = await app.start([both], {"numbers": [1, 2, 3]})
    assert await flow.result(timeout_ms=20_000) == {"sum": 9}
    app.sync.close()


# --------------------------------------------------------------------- as a script

SCRIPT = """
import sys
from argyll_redis import Argyll, FlowFailed

app = Argyll(sys.argv[1], namespace=sys.argv[2])

@app.step(outputs="b")
def first(a: int) -> int:
    return a + 1

if __name__ == "__main__":
    import threading
    may_end = threading.Event()
    ready = threading.Event()

    async def engine():
        import asyncio
        await app.run(until=lambda: asyncio.to_thread(may_end.wait), on_ready=lambda *_: ready.set())

    running = threading.Thread(target=app.sync.call, args=(engine,))
    running.start()
    ready.wait()
    flow = app.sync.start([first], {"a": 1})
    print(flow.result(timeout_ms=20_000))
    print([event["type"] for event in flow.events()][-1])
    may_end.set()
    running.join()
    %s
"""


@pytest.fixture(params=kinds("memory"))
def place(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    """A URL and a namespace."""
    if request.param == "memory":
        yield "memory://", "script"
        return
    server = TestServer(request.param)
    try:
        yield server.url, server.namespace
        assert server.unknown_keys() == []
    finally:
        server.empty()
        server.close()


@pytest.mark.parametrize("end", ["app.sync.close()", "pass", "sys.exit(3)"])
def test_a_script_runs_to_its_end_and_says_nothing_else(
    tmp_path: Path, place: tuple[str, str], end: str
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT % end)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "script.py", *place],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=40,
        check=False,
    )
    said = [line for line in ran.stderr.splitlines() if "append-only" not in line]
    assert (ran.stdout, said) == ("{'b': 2}\nflow_deactivated\n", [])
    assert ran.returncode == (3 if "exit" in end else 0)
