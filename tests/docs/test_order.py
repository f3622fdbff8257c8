"""The order example: its guide is followed with curl, and it starts and stops where things are otherwise."""

from __future__ import annotations

import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

import httpx
import pytest
from doc_words import DOCS, ROOT, Page

from argyll_redis.runtime.embedded import EmbeddedServer

ORDER = DOCS / "examples" / "order"
LIMIT_S = 20


@contextmanager
def started(url: str, *, port: int = 0) -> Iterator[subprocess.Popen[str]]:
    """The program on a server; it is told to stop, and ends."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARGYLL_")}
    process = subprocess.Popen(
        [sys.executable, ORDER / "run.py", "--port", str(port)],
        env={**clean, "PYTHONPATH": str(ROOT), "ARGYLL_REDIS_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
        process.terminate()
        process.communicate(timeout=LIMIT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # what a failed test leaves
        process.communicate()


def addresses(process: subprocess.Popen[str]) -> dict[str, str]:
    """The addresses that it prints, once the shop is open."""
    assert process.stdout is not None
    found: dict[str, str] = {}
    for line in process.stdout:
        if line.startswith("The shop is open"):
            break
        name, _, address = line.removeprefix("export ").strip().partition("=")
        found[name] = address
    return found


def definition(engine: str, step: str) -> str:
    with urlopen(f"{engine}/engine/step/{step}", timeout=LIMIT_S) as answer:
        return answer.read().decode()


@pytest.mark.real
@pytest.mark.timeout(120)  # a program of two processes, and seven flows one after the other
def test_the_guide_prints_what_it_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDER_PORT", "0")
    with EmbeddedServer() as server:
        reader = Page(tmp_path, server.url, tree=ROOT)
        try:
            reader.follow(ORDER / "README.md")
        finally:
            reader.close()


@pytest.fixture(scope="module")
def shop() -> Iterator[dict[str, str]]:
    """The addresses of a shop that is open, where no server is."""
    with started("memory://") as process:
        yield addresses(process)


def test_without_a_server_it_runs_in_memory(shop: dict[str, str]) -> None:
    assert f'"endpoint":"{shop["STOCK"]}/reservations"' in definition(shop["ENGINE"], "reserve")


def test_steps_with_addresses_of_an_earlier_run_are_replaced(
    shop: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ORDER)
    others = {name.lower(): address for name, address in shop.items()}
    importlib.import_module("run").register(shop["ENGINE"], {**others, "carrier": "http://other"})
    assert '"endpoint":"http://other/labels/express"' in definition(shop["ENGINE"], "label_express")


def test_a_port_that_is_taken_is_named_with_the_mend() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with started("memory://", port=port - 1) as process:
            _, told = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, told) == (
        1,
        f"127.0.0.1:{port}: Address already in use; --port 0 takes free ports\n",
    )


# ------------------------------------------------------------------------ the services


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("service", "path", "inputs", "shown", "left"),
    [
        (
            "stock",
            "/reservations",
            {"line": {"article": "cup", "count": 2}},
            "/articles",
            {"teapot": 5, "cup": 22, "samovar": 3},
        ),
        (
            "carrier",
            "/labels/express",
            {"parcel": "2 x cup", "wrapping": "plain"},
            "/labels",
            ["2 x cup, plain"],
        ),
    ],
)
async def test_a_service_that_is_called_again_under_a_token_does_its_work_once(
    service: str, path: str, inputs: object, shown: str, left: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ORDER)
    monkeypatch.delitem(sys.modules, service, raising=False)
    transport = httpx.ASGITransport(importlib.import_module(service).service)
    headers = {"Argyll-Receipt-Token": "a"}
    async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        answers = [await client.post(path, json=inputs, headers=headers) for _ in range(3)]
        assert [each.status_code for each in answers[1:]] == [200, 200]
        assert answers[1].json() == answers[2].json()
        assert (await client.get(shown)).json() == left


def test_a_card_is_charged_once_under_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ORDER)
    monkeypatch.delitem(sys.modules, "payment", raising=False)
    payment = importlib.import_module("payment")
    told: list[dict[str, str]] = []
    monkeypatch.setattr(payment, "SLOW_S", 0)
    monkeypatch.setattr(payment, "tell", lambda webhook, body, kind: told.append(body))
    for _ in range(2):
        payment.settle("a", "http://webhook", card="full", total=8)
    assert (told, len(payment.charges)) == ([{"receipt": "receipt-1"}] * 2, 1)
