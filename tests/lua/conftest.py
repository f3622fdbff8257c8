"""The scripts on fakeredis and on every real server, with a namespace and the queues a and b."""

from __future__ import annotations

import pytest
from lua_words import Lua
from servers import TestServer


@pytest.fixture
def lua(server: TestServer) -> Lua:
    lua = Lua(server)
    lua.create()
    lua.queues("a", "b")
    return lua
