"""An engine process of the demo: `python -m argyll_redis.demo.engine`, with the server's URL in
`ARGYLL_REDIS_URL` and the namespace in `ARGYLL_NAMESPACE`.

It says its id in one line of JSON when it is connected, and works until its standard input ends. So it
never outlives whoever started it, whatever happens to them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import threading

from argyll_redis.demo.app import CONCURRENCY, build

DRAIN_LIMIT_S = 3
"""Longest drain."""


async def serve(url: str, namespace: str) -> None:
    """Is an engine until standard input ends."""
    ended = asyncio.Event()

    def look() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
            _end_by(DRAIN_LIMIT_S)
            ended.set()

    async def until_ended() -> None:
        await ended.wait()

    async with build(url, namespace) as app:
        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), look)
        print(json.dumps({"engine": app.client_id}), flush=True)
        await app.run(concurrency=CONCURRENCY, until=until_ended)


def _end_by(limit_s: float) -> None:
    """Ends this process in so many seconds at the latest: where the server is gone as well, there is
    nobody to commit to and a drain does not end."""
    timer = threading.Timer(limit_s, os._exit, [1])
    timer.daemon = True
    timer.start()


def main() -> None:
    """Reads where to serve from the environment, where a password in a URL is not on show, and serves."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    asyncio.run(serve(os.environ["ARGYLL_REDIS_URL"], os.environ["ARGYLL_NAMESPACE"]))


if __name__ == "__main__":
    main()
