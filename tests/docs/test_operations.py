"""What docs/operations.md says of Redis is tried on a real server: how a namespace is removed."""

from __future__ import annotations

import asyncio
import re
import subprocess

from doc_words import DOCS
from servers import TestServer

from argyll_redis import Argyll

PAGE = DOCS / "operations.md"
NAMESPACE = "{shop"


def test_the_documented_commands_remove_a_namespace_and_no_other(real_server: TestServer) -> None:
    """Labels, which are parts of keys, may hold blanks and quotes."""
    other = f"{{{real_server.namespace}2}}:meta"

    async def use() -> None:
        app = Argyll(real_server.url, real_server.namespace)
        await app.register_steps(
            [{"id": "a", "type": "python", "attributes": {}, "python": {"handler": "a"}}]
        )
        await app.start(["a"], labels={"said": 'it\'s "a b"'})
        await app.close()

    asyncio.run(use())
    real_server.client.set(other, "kept")
    [fence] = re.findall(r"^```sh\n(redis-cli --scan .*?)^```", PAGE.read_text(), re.S | re.M)
    socket = real_server.url.removeprefix("unix://")
    script = fence.replace(NAMESPACE, f"{{{real_server.namespace}").replace(
        "redis-cli", f"redis-cli -s {socket}"
    )
    assert real_server.all_keys()
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, capture_output=True, timeout=30)
    kept = real_server.client.get(other)
    real_server.client.delete(other)
    assert (real_server.all_keys(), kept) == ([], b"kept")
