"""Every Redis key of a namespace: one table, and the functions that build names from it.

All keys of a flow and its children carry the hash tag `{ns:p}`, so that one script on them is atomic
even on a cluster. The reference page and the check for leaked keys are made from `KEYS`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from argyll_redis.errors import InvalidInput
from argyll_redis.store.protocol import FEED_LENGTH

GROUP = "engines"
"""The consumer group of every dispatch stream."""

LAYOUT = 1
"""Version of this table; a namespace with a later one is refused."""

MAX_PARTITIONS = 1_024

_NAMESPACE = re.compile(r"[a-z0-9_-]{1,64}")


class KeyType(StrEnum):
    """What `TYPE` answers for a key."""

    STREAM = "stream"
    HASH = "hash"
    ZSET = "zset"
    SET = "set"
    STRING = "string"


@dataclass(frozen=True, slots=True)
class KeyRow:
    """One kind of key: what it holds, who touches it and when it goes away."""

    pattern: str
    """Its name; `ns` is the namespace, `p` a partition, `<...>` any text."""
    type: KeyType
    holds: str
    writers: tuple[str, ...]
    """Scripts that write it, or the store method that does so by a command of its own."""
    readers: tuple[str, ...]
    """Scripts and store methods that read it."""
    lives: str

    @property
    def is_fixed(self) -> bool:
        """Whether the name is known without knowing flows, queues or engines."""
        return "<" not in self.pattern

    @property
    def is_mortal(self) -> bool:
        """Whether such keys have a time to live; all others stay until somebody removes them."""
        return self.lives.startswith("its time to live")

    @property
    def is_partitioned(self) -> bool:
        """Whether every partition has its own."""
        return self.pattern.startswith("{ns:p}:")


_FLOW = "until retention after deactivation; a tree goes with its root"
_SHORT = "until the commit that answers it"
_READERS = (*("commit", "fetch", "block", "keep", "renew", "references", "queue_stats", "repair", "pending"),)

KEYS: tuple[KeyRow, ...] = (
    KeyRow(
        "{ns:p}:flow:<id>", KeyType.STREAM, "a flow's events; the ids 1-0, 2-0, ... are its versions",
        writers=("commit", "import", "expire"), readers=("commit", "load", "repair", "log_ends"), lives=_FLOW,
    ),
    KeyRow(
        "{ns:p}:head:<id>", KeyType.HASH,
        "v, tx and at of the last event, t0 of the first, sealed; what turns set, each name after a dot; "
        "indexes after `#`, plans after `@` with how often",
        writers=("commit", "import", "expire", "repair"),
        readers=("commit", "expire", "renew", "heads", "head_fields"),
        lives="with the flow",
    ),
    KeyRow(
        "{ns:p}:plan:<hash>", KeyType.HASH, "b: a plan's bytes, n: how many flows of the partition use it",
        writers=("commit", "expire", "repair"), readers=("commit", "plans", "repair", "plan_users"),
        lives="with its last flow",
    ),
    KeyRow(
        "{ns:p}:work:<queue>", KeyType.STREAM, "released attempts (group engines)",
        writers=("commit", "keep", "queues", "release", "bury", "retire", "reap", "repair"), readers=_READERS,
        lives=_SHORT,
    ),
    KeyRow(
        "{ns:p}:control", KeyType.STREAM, "what an engine should look at (group engines)",
        writers=("commit", "create", "queues", "keep", "release", "bury", "retire", "reap", "repair"),
        readers=_READERS,
        lives=_SHORT,
    ),
    KeyRow(
        "{ns:p}:due", KeyType.ZSET, "`<stream> <payload>` by due time, ms of the server's clock",
        writers=("commit", "keep", "release", "repair"),
        readers=("keep", "references", "queue_stats", "pending"),
        lives="until due or settled",
    ),
    KeyRow(
        "{ns:p}:open", KeyType.ZSET, "root flows by start time, from start to deactivation",
        writers=("commit", "expire", "repair"), readers=("index", "walk", "sizes", "scores", "rows"),
        lives="until deactivation",
    ),
    KeyRow(
        "{ns:p}:done:<status>", KeyType.ZSET, "root flows by start time, from the outcome or the import on",
        writers=("commit", "import", "expire", "repair"),
        readers=("index", "walk", "sizes", "scores", "rows"),
        lives="with the flow",
    ),
    KeyRow(
        "{ns:p}:label:<k>=<v>", KeyType.ZSET, "root flows with a label, by start time",
        writers=("commit", "import", "expire", "repair"),
        readers=("index", "walk", "sizes", "scores", "rows"),
        lives="with the flow",
    ),
    KeyRow(
        "{ns:p}:children", KeyType.ZSET, "open child flows by id",
        writers=("commit", "repair"), readers=("expire", "index", "walk", "scores", "rows"),
        lives="until deactivation",
    ),
    KeyRow(
        "{ns:p}:expire", KeyType.ZSET,
        "deactivated root flows by the time when the last flow of their tree was deactivated or imported",
        writers=("commit", "import", "expire", "repair"), readers=("expire", "scores", "rows"),
        lives="until expired",
    ),
    KeyRow(
        "{ns:p}:tree", KeyType.ZSET, "deactivated child flows by id",
        writers=("commit", "import", "expire", "repair"), readers=("expire", "scores", "rows"),
        lives="until their root is expired",
    ),
    KeyRow(
        "{ns:p}:feed", KeyType.STREAM, "one entry a turn with events: `<flow> <first> <last> <status>`",
        writers=("commit",), readers=("feed",), lives=f"trimmed to about {FEED_LENGTH} entries",
    ),
    KeyRow(
        "{ns:p}:dead", KeyType.STREAM, "entries and due members nobody could read, with the reason",
        writers=("bury", "keep", "repair"), readers=("dead", "dead_entries"), lives="until an operator acts",
    ),
    KeyRow(
        "{ns:p}:id", KeyType.STRING, "the namespace's instance id, compared by every script",
        writers=("create", "restore_ids"), readers=("every script", "lost_ids"), lives="for ever",
    ),
    KeyRow(
        "{ns}:meta", KeyType.HASH, "layout, partitions, instance, ready",
        writers=("create",),
        readers=("create", "catalog", "health", "keep", "queues", "retire", "peek", "restore_ids"),
        lives="for ever",
    ),
    KeyRow(
        "{ns}:catalog", KeyType.STREAM, "step events; the ids are the catalog's versions",
        writers=("catalog",), readers=("catalog",), lives="for ever",
    ),
    KeyRow(
        "{ns}:catalog:head", KeyType.HASH, "v, tx and at of the catalog's last event, t0 of its first",
        writers=("catalog",), readers=("catalog",), lives="for ever",
    ),
    KeyRow(
        "{ns}:queues", KeyType.SET, "names of all queues",
        writers=("queues",), readers=("queues",), lives="for ever",
    ),
    KeyRow(
        "{ns}:engines", KeyType.ZSET, "engines by last heartbeat",
        writers=("keep", "retire"), readers=("keep", "engines"), lives="seconds after the engine",
    ),
    KeyRow(
        "{ns}:engine:<id>", KeyType.HASH, "queues, handlers, lease and state of a live engine",
        writers=("keep", "retire"), readers=("keep", "engines"),
        lives="its time to live, renewed by each heartbeat",
    ),
    KeyRow(
        "{ns}:health:<engine>", KeyType.STRING, "what an engine found of the health of the steps",
        writers=("health",), readers=("health",), lives="its time to live, renewed by each look",
    ),
    KeyRow(
        "{ns:memo:<hash>}", KeyType.STRING, "what a memoizable step gave for some inputs, as JSON",
        writers=("memorize",), readers=("recall",), lives="its time to live",
    ),
)  # fmt: skip


class Keys:
    """The names of one namespace."""

    __slots__ = ("catalog", "catalog_head", "engines", "meta", "namespace", "queues")

    def __init__(self, namespace: str) -> None:
        if not _NAMESPACE.fullmatch(namespace):
            raise InvalidInput(f"{namespace!r} is no namespace; use 1 to 64 of a-z 0-9 _ -")
        self.namespace = namespace
        self.meta = f"{{{namespace}}}:meta"
        self.catalog = f"{{{namespace}}}:catalog"
        self.catalog_head = f"{{{namespace}}}:catalog:head"
        self.queues = f"{{{namespace}}}:queues"
        self.engines = f"{{{namespace}}}:engines"

    def engine(self, engine: str) -> str:
        return f"{{{self.namespace}}}:engine:{engine}"

    def health(self, engine: str) -> str:
        return f"{{{self.namespace}}}:health:{engine}"

    def memo(self, hash: str) -> str:
        return f"{{{self.namespace}:memo:{hash}}}"

    def of(self, partition: int, name: str) -> str:
        """Names a key of a partition: `of(3, "flow:order-17")`."""
        return f"{{{self.namespace}:{partition}}}:{name}"

    def id(self, partition: int) -> str:
        return self.of(partition, "id")


def row_of(key: str, namespace: str) -> KeyRow | None:
    """Finds the row of the table that a key belongs to; None for a key that nobody knows."""
    for row, pattern in _PATTERNS:
        found = pattern.fullmatch(key)
        if found and found[1] == namespace:
            return row
    return None


def _regex(pattern: str) -> re.Pattern[str]:
    """A pattern of the table as a regular expression, whose first group is the namespace."""
    tag, _, name = pattern.partition("}:")
    if not name:  # a key that is its own tag, so that such keys are spread over a cluster
        kind = re.escape(pattern.split(":")[1])
        return re.compile(rf"\{{({_NAMESPACE.pattern}):{kind}:.+\}}", re.DOTALL)
    partition = r":\d+" if tag.endswith(":p") else ""
    parts = re.split(r"(<[^>]+>)", name)
    rest = "".join(".+" if part.startswith("<") else re.escape(part) for part in parts)
    return re.compile(rf"\{{({_NAMESPACE.pattern}){partition}\}}:{rest}", re.DOTALL)


_PATTERNS = tuple((row, _regex(row.pattern)) for row in KEYS)


def fixed_types(partitioned: bool) -> list[tuple[str, str]]:
    """Lists (name without its tag, type) of the keys whose names are known beforehand."""
    return [
        (row.pattern.partition("}:")[2], row.type.value)
        for row in KEYS
        if row.is_fixed and row.is_partitioned == partitioned
    ]
