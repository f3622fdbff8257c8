"""What an error reply of Redis means here: one table, from its code to a treatment and an exception.

The codes are those of Redis and Valkey, and those of our own scripts (`EMPTIED`, `BADARG`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import redis.exceptions as redis_errors

from argyll_redis.errors import (
    InvariantBroken,
    NamespaceEmptied,
    StoreUnavailable,
    StoreUnfit,
)


class Treatment(StrEnum):
    """What to do after an error reply."""

    BACK_OFF = "try again later"
    RECONNECT = "drop the connection, then try again later"
    RELOAD = "send the script's text"
    REGROUP = "create the groups anew, after a look at the namespace"
    STOP_CLAIMING = "take no work until writes go through again"
    FATAL = "a person has to act"
    BUG = "a bug of this package or its caller"


class NoScript(Exception):
    """The server does not have the script."""


class NoGroup(Exception):
    """A dispatch stream or its group is gone."""


class Answer(NamedTuple):
    """What a code means."""

    treatment: Treatment
    error: type[Exception]
    message: str = "{detail}"
    """What is said of it; the detail is the reply's own text."""


ANSWERS: Mapping[str, Answer] = {
    "NOSCRIPT": Answer(Treatment.RELOAD, NoScript),
    "NOGROUP": Answer(Treatment.REGROUP, NoGroup),
    # what Redis 7.0 says to those that wait for a stream while it is deleted
    "UNBLOCKED": Answer(Treatment.REGROUP, NoGroup),
    "LOADING": Answer(Treatment.BACK_OFF, StoreUnavailable, "Redis is still loading its data"),
    "BUSY": Answer(Treatment.BACK_OFF, StoreUnavailable, "Redis is busy with somebody's long script"),
    "UNKILLABLE": Answer(Treatment.BACK_OFF, StoreUnavailable, "Redis is busy with somebody's long script"),
    "TRYAGAIN": Answer(Treatment.BACK_OFF, StoreUnavailable, "the Redis cluster is moving these keys"),
    "CLUSTERDOWN": Answer(Treatment.BACK_OFF, StoreUnavailable, "the Redis cluster is down"),
    "MASTERDOWN": Answer(Treatment.BACK_OFF, StoreUnavailable, "Redis is a replica without its master"),
    "READONLY": Answer(Treatment.RECONNECT, StoreUnavailable, "Redis is a read-only replica now"),
    "OOM": Answer(
        Treatment.STOP_CLAIMING, StoreUnfit, "Redis is out of memory and refuses writes (raise maxmemory)"
    ),
    "MISCONF": Answer(
        Treatment.STOP_CLAIMING, StoreUnfit, "Redis cannot save to disk and refuses writes (see its log)"
    ),
    "NOREPLICAS": Answer(
        Treatment.STOP_CLAIMING, StoreUnfit, "Redis has too few replicas and refuses writes"
    ),
    "NOAUTH": Answer(
        Treatment.FATAL, StoreUnfit, "Redis wants another user or password (put them into the URL)"
    ),
    "NOPERM": Answer(Treatment.FATAL, StoreUnfit, "the Redis user may not do what is needed: {detail}"),
    "MOVED": Answer(Treatment.FATAL, StoreUnfit, "Redis is a node of a cluster, which is not supported yet"),
    "CROSSSLOT": Answer(
        Treatment.FATAL, StoreUnfit, "Redis is a node of a cluster, which is not supported yet"
    ),
    "WRONGTYPE": Answer(Treatment.FATAL, StoreUnfit),
    "EMPTIED": Answer(
        Treatment.FATAL, NamespaceEmptied, "the namespace was emptied or replaced while in use: {detail}"
    ),
    "BADARG": Answer(Treatment.BUG, ValueError),
}

_OTHER = Answer(Treatment.BUG, InvariantBroken, "Redis refused a call: {detail}")

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (redis_errors.NoScriptError, "NOSCRIPT"),
    (redis_errors.BusyLoadingError, "LOADING"),
    (redis_errors.ReadOnlyError, "READONLY"),
    (redis_errors.OutOfMemoryError, "OOM"),
    (redis_errors.AuthenticationError, "NOAUTH"),
    (redis_errors.NoPermissionError, "NOPERM"),
    (redis_errors.TryAgainError, "TRYAGAIN"),
    (redis_errors.ClusterCrossSlotError, "CROSSSLOT"),
    (redis_errors.AskError, "MOVED"),
    (redis_errors.MasterDownError, "MASTERDOWN"),
    (redis_errors.ClusterDownError, "CLUSTERDOWN"),
)
"""The codes that redis-py cuts off the text and puts into a class."""


def code_of(error: Exception) -> str:
    """Names the code of an error reply; its first word when it is none that redis-py knows."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return str(error).partition(" ")[0]


def answer_to(error: Exception) -> Answer:
    """Looks up what an error reply means."""
    return ANSWERS.get(code_of(error), _OTHER)


def exception_for(error: Exception) -> Exception:
    """Makes the exception that the caller of the store gets for an error reply."""
    answer = answer_to(error)
    detail = str(error).removeprefix(f"{code_of(error)} ")
    return answer.error(answer.message.format(detail=detail if answer is not _OTHER else error))


def is_known(error: Exception) -> bool:
    """Tells whether the table has a row for an error, which redis-py may have made a lost connection."""
    return code_of(error) in ANSWERS
