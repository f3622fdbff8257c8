"""JSONPath (RFC 9535, strictly) for predicates, matches and mappings."""

from __future__ import annotations

from argyll_redis.scripting import limits
from argyll_redis.scripting.protocol import Program, Purpose, check_source


class JPath:
    """The language `jpath`."""

    purposes = frozenset((Purpose.PREDICATE, Purpose.MATCH, Purpose.MAPPING))

    def compile(self, source: str, purpose: Purpose) -> Program:
        """A program; raises `ScriptError` with line and column for text that is no path."""
        check_source(source, limit=limits.JPATH_SOURCE_BYTES)
        # Imported late: the parser takes long to import, and most processes never see a path.
        from argyll_redis.scripting.jpath_program import compile_path

        return compile_path(source)
