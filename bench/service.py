"""The service that W4's steps call, in a process of its own: `python -m bench.service`.

It gives back what it gets, under the name that the path says: no work, so that what is measured is the
calls. It prints its URL and ends with its standard input, so it never outlives the bench.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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


async def main() -> None:
    async with serving() as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
