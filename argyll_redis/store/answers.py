"""What an error reply of Redis means here: one table, from its code to a treatment and an exception.

The codes are those of Redis and Valkey, and those of our own scripts (`EMPTIED`, `BADARG`). What has no
code of its own (`ERR ...`) is known by its words. Nothing of it ends a process or is repeated without a
delay: what the caller of the store does after each treatment is said here, and the callers do it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

import redis.exceptions as redis_errors

from argyll_redis.errors import (
    CallRefused,
    NamespaceEmptied,
    StoreUnavailable,
    StoreUnfit,
)


class Treatment(StrEnum):
    """What to do after an error reply."""

    BACK_OFF = "try again later, after delays that grow"
    RECONNECT = "drop the connection, then try again later"
    RELOAD = "send the script's text, at once and once"
    REGROUP = "create the groups anew, after a look at the namespace"
    STOP_CLAIMING = "begin nothing until writes go through again; try again later"
    FATAL = "a person has to act: begin nothing until then; try again later"
    EMPTIED = "stop: nothing is written to this namespace any more"
    BUG = "what was sent is wrong: leave the flow alone that it was for"


class NoScript(StoreUnfit):
    """The server does not have the script. Raised to callers only when it forgets what it was just sent."""


class NoGroup(StoreUnfit):
    """A dispatch stream or its group is gone. Raised to callers only where nobody can create it anew."""


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
    "max number of clients reached": Answer(
        Treatment.RECONNECT,
        StoreUnavailable,
        "Redis has its max number of clients (raise maxclients)",
    ),
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
    "MOVED": Answer(Treatment.FATAL, StoreUnfit, "Redis is a node of a cluster (use redis+cluster://)"),
    "CROSSSLOT": Answer(Treatment.FATAL, StoreUnfit, "Redis is a node of a cluster (use redis+cluster://)"),
    "DENIED": Answer(
        Treatment.FATAL, StoreUnfit, "Redis is in protected mode (give it a password, put it into the URL)"
    ),
    "unknown command": Answer(
        Treatment.FATAL, StoreUnfit, "Redis lacks a command (use Redis 7.0 or later, or Valkey): {detail}"
    ),
    "DB index is out of range": Answer(
        Treatment.FATAL, StoreUnfit, "Redis does not have this database (correct the number in the URL)"
    ),
    "compiling script": Answer(Treatment.FATAL, StoreUnfit, "Redis cannot read a script: {detail}"),
    "EMPTIED": Answer(
        Treatment.EMPTIED, NamespaceEmptied, "the namespace was emptied or replaced while in use: {detail}"
    ),
    "BADARG": Answer(Treatment.BUG, ValueError),
    "WRONGTYPE": Answer(
        Treatment.BUG, CallRefused, "a key is not what it has to be, somebody else wrote it: {detail}"
    ),
    "user_script": Answer(Treatment.BUG, CallRefused, "a script failed: {detail}"),
}
"""By code, or by the words that tell an error without a code from others."""

OTHER = Answer(Treatment.STOP_CLAIMING, StoreUnfit, "Redis refused a call: {detail}")
"""What no row knows may be a proxy's word, or a newer server's: it is no reason to end."""

_WORDS = ("max number of clients reached", "unknown command", "DB index is out of range", "compiling script")
_SCRIPT = "user_script"

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

_DEMOTED = "instance state changed"
"""What those hear who wait at a master that becomes a replica; it begins with UNBLOCKED, as the answer
does to those who wait for a stream that is deleted."""

_DENIED = ("The user executing the script can't", "ACL failure in script")
"""How Redis 7.0, and Valkey, begin what they say to a script whose user may not do something."""


def code_of(error: Exception) -> str:
    """Names the code of an error reply; its first word when it is none that redis-py knows."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    if _DEMOTED in str(error):
        return "READONLY"
    if any(words in str(error) for words in _DENIED):
        return "NOPERM"
    text = str(error)
    code = text.partition(" ")[0]
    if code in ANSWERS:
        return code
    return next((words for words in (*_WORDS, _SCRIPT) if words in text), code)


def answer_to(error: Exception) -> Answer:
    """Looks up what an error reply means."""
    return ANSWERS.get(code_of(error), OTHER)


def exception_for(error: Exception) -> Exception:
    """Makes the exception that the caller of the store gets for an error reply."""
    answer = answer_to(error)
    detail = str(error).removeprefix(f"{code_of(error)} ")
    return answer.error(answer.message.format(detail=detail if answer is not OTHER else error))


def is_known(error: Exception) -> bool:
    """Tells whether the table has a row for an error, which redis-py may have made a lost connection."""
    return code_of(error) in ANSWERS
