"""An engine process of a chaos run: `python -m tests.chaos.engine URL NAMESPACE`."""

from __future__ import annotations

import asyncio
import signal
import sys

from tests.chaos.shapes import build


async def main(url: str, namespace: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    app = build(url, namespace)
    await app.run(until=stop.wait, concurrency=50)
    await app.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
