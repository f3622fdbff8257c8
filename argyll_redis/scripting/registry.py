"""The script languages that every installation has: any process may have to decide any flow."""

from __future__ import annotations

from argyll_redis.scripting.jpath import JPath
from argyll_redis.scripting.lua import Lua
from argyll_redis.scripting.protocol import Language

LANGUAGES: dict[str, Language] = {
    "lua": Lua(),
    "jpath": JPath(),
}
"""By the name that definitions use."""
