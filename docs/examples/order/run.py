"""Starts the order example: Redis, four services, an engine with the HTTP API, and the steps of `steps.json`.

    python docs/examples/order/run.py              until Ctrl-C; the guide is README.md beside this file
    python docs/examples/order/run.py --port 0     on free ports; the variable ORDER_PORT says the same

The engine listens on the first port (8700), the services on the four after it. In `steps.json` the services
are called by their names, `http://stock/...`, as they would be where they have such names; here an
address is put in place of each.

With ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server, left out on a redis-server or
valkey-server of its own from the PATH; where neither is, the engine keeps its flows in memory.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from argyll_redis.runtime.embedded import EmbeddedServer

try:
    import aiohttp  # noqa: F401 - the engine calls the services with it
    import carrier
    import fraud
    import payment
    import stock
    import uvicorn
except ImportError as error:
    sys.exit(f"{error.name} is missing: this example needs pip install 'argyll-redis[server,http]'")

HOST = "127.0.0.1"
PORT = 8700
SERVICES = {each.__name__: each.service for each in (stock, fraud, payment, carrier)}
STEPS = Path(__file__).with_name("steps.json")
GRACE_S = 2
"""Ctrl-C in a terminal reaches the engine, too; a second word at once would cut its running work off."""


@contextmanager
def services(first_port: int) -> Iterator[dict[str, str]]:
    """The services, in a thread; gives their addresses."""
    sockets = [listening(first_port and first_port + number) for number in range(len(SERVICES))]
    servers = [
        uvicorn.Server(uvicorn.Config(service, log_level="warning", lifespan="off"))
        for service in SERVICES.values()
    ]

    async def serve() -> None:
        pairs = zip(servers, sockets, strict=True)
        await asyncio.gather(*(server.serve(sockets=[each]) for server, each in pairs))

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        yield {
            name: f"http://{HOST}:{each.getsockname()[1]}"
            for name, each in zip(SERVICES, sockets, strict=True)
        }
    finally:
        for server in servers:
            server.should_exit = True
        thread.join()


def listening(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        sys.exit(f"{HOST}:{port}: {os.strerror(error.errno or 0)}; --port 0 takes free ports")


@contextmanager
def engine(redis_url: str, port: int) -> Iterator[str]:
    """An engine with the HTTP API; gives its address."""
    command = f"engine --namespace example-order --http {HOST}:{port} --json"
    process = subprocess.Popen(
        [sys.executable, "-m", "argyll_redis.cli", *command.split()],
        env={**os.environ, "ARGYLL_REDIS_URL": redis_url},  # not an argument: it may hold a password
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        started = process.stdout.readline()
        if not started:
            sys.exit(process.wait())
        yield json.loads(started)["http"]
    except KeyboardInterrupt:
        with suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        raise
    finally:
        process.terminate()  # if it has not ended: it lets running work end
        process.wait()


def register(api: str, addresses: dict[str, str]) -> None:
    """Registers the steps. One that is there with other addresses, those of another port, is replaced."""
    text = STEPS.read_text()
    for name, address in addresses.items():
        text = text.replace(f'"http://{name}/', f'"{address}/')
    for step in json.loads(text):
        try:
            send("POST", f"{api}/engine/step", step)
        except HTTPError as refusal:
            if refusal.code != 409:
                sys.exit(refusal.read().decode())
            send("PUT", f"{api}/engine/step/{step['id']}", step)


def send(method: str, url: str, body: dict) -> None:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method)
    urlopen(request).close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Starts the order example, until Ctrl-C.")
    port = os.environ.get("ORDER_PORT", PORT)
    parser.add_argument("--port", type=int, default=port, help="the first of five; 0: free ones")
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # what was started ends with it
    try:
        run(port)
    except KeyboardInterrupt:
        print("The shop is closed.")


def run(port: int) -> None:
    with ExitStack() as stack:
        url = os.environ.get("ARGYLL_REDIS_URL") or stack.enter_context(EmbeddedServer()).url
        addresses = stack.enter_context(services(port and port + 1))
        api = stack.enter_context(engine(url, port))
        register(api, {"engine": api, **addresses})
        for name, address in {"engine": api, **addresses}.items():
            print(f"export {name.upper()}={address}")
        print("The shop is open, until Ctrl-C.", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
