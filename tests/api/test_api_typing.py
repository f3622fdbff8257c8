"""What a type checker makes of an app of a user's: strictly checked, and nothing unknown in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyright")
ROOT = Path(__file__).parents[2]

GOOD = """
from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from argyll_redis import (
    ACCEPTED, Accepted, AppConfig, Argyll, Failed, FlowFailed, FlowHandle, NotCompleted, Retry, RetryDefaults,
    StepContext, UnknownToken, Values,
)

config = AppConfig(retry=RetryDefaults(max_retries=3), lease_ms=5_000)
app = Argyll("redis://localhost:6379/0", namespace="shop", register="strict", version=2, config=config)


class CardDeclined(Exception): ...


class Prices(TypedDict):
    total: int
    tax: int


@app.step(outputs="customer")
async def lookup_customer(customer_id: str) -> dict[str, str]:
    return {"id": customer_id}


@app.step(outputs=("total", "tax"), retry=Retry(max_attempts=5, backoff="exponential", initial_ms=200))
def price(order: dict[str, Any], customer: dict[str, str]) -> Prices:
    return {"total": 1, "tax": 2}


@app.step(
    outputs="receipt", for_each="items", parallelism=8, permanent=(CardDeclined,), queue="bank",
    timeout_ms=1_000, on_failure="tolerate", predicate="return true", labels={"team": "a"}, id="charge",
)
async def charge(items: dict[str, Any], ctx: StepContext) -> str:
    if ctx.cancelled or ctx.attempt > 3 or (ctx.deadline or 0) < 0:
        raise Failed("no")
    raise NotCompleted("later", after_ms=500)


@app.step(outputs="approved")
async def ask(order: dict[str, Any]) -> bool | Accepted:
    return True if order else ACCEPTED


@app.step
def note(order: dict[str, Any]) -> None: ...


def plain(x: int) -> int:
    return x


app.step(plain, outputs="y", permanent=ValueError, predicate={"language": "jpath", "script": "$.x"})


# the functions are still what they were
async def calls() -> str:
    customer: dict[str, str] = await lookup_customer("c1")
    prices: Prices = price({}, customer)
    receipt: str = await charge({}, StepContext("f", "s", "t", 1))
    number: int = plain(prices["tax"])
    note({})
    return receipt + str(number)


async def main() -> None:
    stop = asyncio.Event()
    async with app:
        running = asyncio.create_task(app.run(concurrency=10, queues=["bank"], until=stop.wait))
        flow: FlowHandle = await app.start(
            goals=[charge, "price"], init={"items": Values([1], [2])}, id="o", labels={"a": "b"},
            metadata={"m": 1}, timeout_ms=5,
        )
        await app.start(charge)
        try:
            result = await flow.result(timeout_ms=1_000)
            print(result["receipt"])
        except FlowFailed as failed:
            print(failed.root_cause["error"].upper(), failed.flow_id)
        async for event in flow.events(after=3):
            print(event["type"])
        for started in await app.start_many([{"goals": [charge]}]):
            print(started.id if isinstance(started, FlowHandle) else str(started))
        try:
            done: bool = await app.complete(flow.id, "charge", "token", {"receipt": "x"})
            done = await app.fail(flow.id, "charge", "token", "no")
            done = await app.retry_later(flow.id, "charge", "token", after_ms=3)
            print(done)
        except UnknownToken:
            pass
        print((await flow.state(at=3))["status"], await flow.cancel(), (await app.why("o", "charge"))["why"])
        stop.set()
        await running


def script() -> None:
    flow = app.sync.start([charge], {"x": 1}, id="x")
    print(flow.result(timeout_ms=3)["x"], [event["id"] for event in flow.events()])
    status: dict[str, Any] = app.sync.call(app.status, "x")
    print(status, ACCEPTED)
"""

BAD = """
from argyll_redis import Argyll

app = Argyll(register="always")


@app.step(outputs="x", retries=3)
def one(a: int) -> int:
    return a


@app.step(outputs="x")
def two(a: int) -> int:
    return a


two("text")


async def main() -> None:
    flow = await app.start([two], timeout_ms="soon")
    await flow.result(timeout="soon")
"""


def checked(directory: Path, source: str) -> list[str]:
    """The lines that pyright complains of."""
    (directory / "user.py").write_text(source)
    settings = {
        "include": ["user.py"],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "strict",
        "pythonVersion": "3.11",
    }
    (directory / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    try:
        ran = subprocess.run([*command, "-p", str(directory)], capture_output=True, timeout=50, check=False)
        found = json.loads(ran.stdout)["generalDiagnostics"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError) as error:  # it fetches Node when there is none
        pytest.skip(f"pyright does not run here: {error}")
    return [f"{each['range']['start']['line']}: {each['message']}" for each in found]


def test_the_public_api_passes_the_strictest_check(tmp_path: Path) -> None:
    assert checked(tmp_path, GOOD) == []


def test_what_is_wrong_is_found_by_the_checker(tmp_path: Path) -> None:
    lines = [int(each.partition(":")[0]) for each in checked(tmp_path, BAD)]
    wrong = ["always", "retries", 'two("text")', '_ms="soon"', 'timeout="soon"']
    source = BAD.splitlines()
    missed = [word for word in wrong if not any(word in source[line] for line in lines)]
    assert missed == []
