"""The service that W4's steps call, in a process of its own: `python -m bench.service`.

It gives back what it gets, under the name that the path says: no work, so that what is measured is the
calls. It prints its URL and ends with its standard input, so it never outlives the bench.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
END_LIMIT_S = 10
"""Longest wait for it to end before it is killed."""


@asynccontextmanager
async def serving() -> AsyncIterator[str]:
    """Serves while this is entered; gives the URL."""
    from aiohttp import web

    async def answer(request: web.BaseRequest) -> web.Response:
        [value] = json.loads(await request.read()).values()
        return web.json_response({request.path[1:]: value})

    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextmanager
def service_process() -> Iterator[str]:
    """The service in a process of its own; gives the URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.service"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        try:
            process.wait(END_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def main() -> None:
    async with serving() as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
