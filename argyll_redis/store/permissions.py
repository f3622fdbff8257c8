"""What a Redis user must be allowed, and how a user who lacks some of it is told before anything is written.

A script that is refused a command midway is not rolled back, so a user without a right would leave half a
commit behind. Each right is tried within a script that may not write: what the user may do is then refused
only because of that, and nothing is done.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

KEY = "KEY"
"""Stands for a key of the namespace that does not exist."""

TRIED: tuple[tuple[str, ...], ...] = (
    ("DEL", KEY),
    ("EXISTS", KEY),
    ("GET", KEY),
    ("HDEL", KEY, "f"),
    ("HEXISTS", KEY, "f"),
    ("HGET", KEY, "f"),
    ("HGETALL", KEY),
    ("HINCRBY", KEY, "f", "none"),
    ("HMGET", KEY, "f"),
    ("HSET", KEY, "f", "v", "left over"),
    ("MGET", KEY),
    ("PEXPIRE", KEY, "1"),
    ("SADD", KEY, "m"),
    ("SET", KEY, "", "XX"),
    ("SMEMBERS", KEY),
    ("TIME",),
    ("TYPE", KEY),
    ("UNLINK", KEY),
    ("XACK", KEY, "g", "0-1"),
    ("XADD", KEY, "NOMKSTREAM", "*", "f", "v"),
    ("XAUTOCLAIM", KEY, "g", "c", "0", "0"),
    ("XCLAIM", KEY, "g", "c", "0", "0-1"),
    ("XDEL", KEY, "0-1"),
    ("XGROUP", "CREATE", KEY, "g", "0"),
    ("XGROUP", "DELCONSUMER", KEY, "g", "c"),
    ("XINFO", "CONSUMERS", KEY, "g"),
    ("XLEN", KEY),
    ("XPENDING", KEY, "g"),
    ("XRANGE", KEY, "-", "+"),
    ("XREAD", "STREAMS", KEY, "0"),
    ("XREADGROUP", "GROUP", "g", "c", "STREAMS", KEY, ">"),
    ("XREVRANGE", KEY, "+", "-"),
    ("ZADD", KEY, "XX", "1", "m"),
    ("ZCARD", KEY),
    ("ZRANGE", KEY, "0", "0"),
    ("ZRANGEBYSCORE", KEY, "0", "0"),
    ("ZREM", KEY, "m"),
    ("ZSCAN", KEY, "0"),
)
"""What an app, an engine and the command line give, so that even a server that lets them write would do
nothing; but for `SADD`, which is why the script looks first whether the server keeps it from writing."""

LOOKED: tuple[tuple[str, ...], ...] = (
    ("INFO", "server"),
    ("PTTL", KEY),
    ("SCAN", "0"),
    ("ZSCORE", KEY, "m"),
)
"""What is given beside by those who look at a namespace key by key, and at the server."""

_NO_KEY = "keys"

_PROBE = """#!lua flags=no-writes
local function refusal(reply)
  return type(reply) == 'table' and type(reply.err) == 'string' and reply.err or ''
end
local write = refusal(redis.pcall('SET', KEYS[1], '', 'XX'))
if write == '' then return {} end
local refusals, at = {}, 1
while at <= #ARGV do
  local count, call = tonumber(ARGV[at]), {}
  for i = 1, count do
    call[i] = ARGV[at + i] == 'KEY' and KEYS[1] or ARGV[at + i]
  end
  refusals[#refusals + 1] = refusal(redis.pcall(unpack(call)))
  at = at + count + 1
end
return refusals"""

_MAY_NOT_RUN = ("can't run this command", "permissions to run")
_MAY_NOT_TOUCH = ("can't access at least one of the keys", "permissions to access")
"""What Redis 7.0, and later ones and Valkey, say in a script to a user who lacks something."""


def questions(key: str, other_key: str, tried: Sequence[Sequence[str]]) -> list[tuple[str | int, ...]]:
    """The commands that find out what a user lacks: a key of a partition, and one of the namespace that
    has no partition. Nothing is written. `missing` reads the replies."""
    arguments: list[str | int] = []
    for call in tried:
        arguments += [len(call), *call]
    return [
        ("EVALSHA", "0" * 40, 0),
        ("EXISTS", other_key),
        ("EVAL", _PROBE, 1, key, *arguments),
    ]


def missing(replies: Sequence[Any], tried: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names what the user lacks, as words of `ACL SETUSER` (`+xadd`), and `keys` where it may not touch
    all keys of the namespace. Nothing where that cannot be told."""
    by_hash, other_key, found = replies
    lacking: dict[str, None] = {}
    if _is_denied(by_hash):
        lacking["+evalsha"] = None
    if _is_denied(other_key):
        lacking["+exists" if _says(other_key, _MAY_NOT_RUN) else _NO_KEY] = None
    if isinstance(found, Exception):
        if _is_denied(found):
            lacking[_NO_KEY if _says(found, _MAY_NOT_TOUCH) else "+eval"] = None
        return tuple(lacking)
    refusals = cast(list[bytes], found) if isinstance(found, list) else []
    for call, refusal in zip(tried, refusals, strict=False):
        text = refusal.decode("utf-8", "replace")
        if _says(text, _MAY_NOT_RUN):
            lacking[f"+{call[0].lower()}"] = None
        elif _says(text, _MAY_NOT_TOUCH):
            lacking[_NO_KEY] = None
    return tuple(lacking)


def _is_denied(reply: Any) -> bool:
    return isinstance(reply, Exception) and (
        _says(reply, _MAY_NOT_RUN) or _says(reply, _MAY_NOT_TOUCH) or str(reply).startswith("NOPERM")
    )


def _says(reply: Any, words: Sequence[str]) -> bool:
    return any(word in str(reply) for word in words)


def asked_for(lacking: Sequence[str], namespace: str) -> str:
    """What is wrong with a user who lacks something, and the mend."""
    rules = [each for each in lacking if each != _NO_KEY]
    if _NO_KEY in lacking:
        rules += [f"~{{{namespace}}}:*", f"~{{{namespace}:*"]
    return f"the Redis user lacks rights (ACL SETUSER NAME {' '.join(rules)})"
