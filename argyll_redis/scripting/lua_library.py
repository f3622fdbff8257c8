"""Loads Lua 5.4, in a process that may hold another Lua.

Every Lua has the same C names. A library that was loaded with its names made global (fakeredis does so
with Lua 5.1) would lend them to ours, and the first call would end the process. So ours is told to
look among its own names first, where the system's loader can do that (glibc; macOS and Windows never
mix names). Elsewhere it has to be loaded before the other one.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _own_names_first() -> Iterator[None]:
    deepbind = getattr(os, "RTLD_DEEPBIND", None)
    if deepbind is None:
        yield
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(os.RTLD_NOW | os.RTLD_LOCAL | deepbind)
    try:
        yield
    finally:
        sys.setdlopenflags(flags)


with _own_names_first():
    lua54: Any = import_module("lupa.lua54")
    """lupa's module; its types leave out most of its options."""
