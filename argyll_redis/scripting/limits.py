"""The limits of scripts that are about how they run; those that users plan with are in
`core/limits.py`, and have shorter names here.

A script is somebody else's text that runs inside an engine. Each limit has a reason: it bounds time,
or memory, or what ends up in a log.
"""

from __future__ import annotations

from argyll_redis.core.limits import (
    MAX_JPATH_BYTES,
    MAX_JPATH_DESCENTS,
    MAX_JPATH_MATCHES,
    MAX_NESTING,
    MAX_SCRIPT_BYTES,
    MAX_SCRIPT_INSTRUCTIONS,
    MAX_SCRIPT_MEMORY_BYTES,
    MAX_SCRIPT_RESULT_BYTES,
)

LUA_SOURCE_BYTES = MAX_SCRIPT_BYTES
LUA_INSTRUCTIONS = MAX_SCRIPT_INSTRUCTIONS
LUA_MEMORY_BYTES = MAX_SCRIPT_MEMORY_BYTES
JPATH_SOURCE_BYTES = MAX_JPATH_BYTES
JPATH_DESCENTS = MAX_JPATH_DESCENTS
JPATH_MATCHES = MAX_JPATH_MATCHES
RESULT_BYTES = MAX_SCRIPT_RESULT_BYTES
NESTING = MAX_NESTING
"""Containers within containers, in a result."""
INPUT_NESTING = MAX_NESTING + 2
"""The same in what a script is given: a value of the deepest nesting, within the list of an input,
within the object of inputs."""

JPATH_DEPTH = 64
"""Levels of nested filters, parentheses and chained operators; the parser recurses."""
JPATH_STEPS = 500_000
"""Values looked at by one evaluation of a path; a step takes some 0.2 us."""
REGEX_CHARACTERS = 1_024
REGEX_STATES = 1_000
"""States of one regular expression, counted repetitions written out."""

LUA_SECONDS = 0.3
"""Processor time of one run. A million instructions take some 15 ms; this stops the few that take
milliseconds each (joining and comparing long text)."""
LUA_STRIDE = 50
"""Instructions between two looks at the clock."""
LUA_SPREAD = 100_000
"""Values that one call of a `table` function moves or unpacks."""
LUA_SHORT_BYTES = 256
"""Longest text that is compared without being metered, when sorting."""
LUA_LOCALS = 100
"""Inputs that become local variables; Lua allows 200 in all. The others are globals of the run."""
ERROR_CHARACTERS = 2_000
"""Of an error that a script raised."""

PROGRAMS = 2_000
"""Compiled scripts kept by an evaluator."""
IDLE_RUNTIMES = 8
"""Lua runtimes kept for the next run. As many run as threads evaluate at the same time."""
RUNTIME_FUNCTIONS = 500
RUNTIME_SOURCE_BYTES = 256 * 1024
"""Source text of the functions that one runtime keeps; its bytecode is some ten times as large."""
RUNTIME_KEPT_BYTES = 2 * 1024 * 1024
"""Memory in use above which a runtime is cleaned up after a run."""
