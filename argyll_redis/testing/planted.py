"""Known bugs, to be planted from outside: a simulator that does not find them proves nothing.

They are mistakes that systems of this kind have made, some of which ten thousand flows under `kill -9`
did not show, and some that were ours. The product has no switch for them: a bug stands before the
network (what goes wrong between two calls), at the server (within one call), or replaces a rule while
it is planted. Each must be found by what is checked in every run, never by a check of its own.
"""

from __future__ import annotations

from argyll_redis.testing import planted_calls, planted_rules, planted_server
from argyll_redis.testing.planting import BUGS

__all__ = ["BUGS"]

_PLANTED_IN = (planted_calls, planted_server, planted_rules)
"""Importing them plants."""
