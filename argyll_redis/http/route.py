"""What a route is: one row of the table, and what its handler is called with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from argyll_redis.core.limits import MAX_BODY_BYTES
from argyll_redis.core.reader import did_you_mean, one_of
from argyll_redis.core.values import shown
from argyll_redis.errors import InvalidInput, Problem
from argyll_redis.http.keys import Role

if TYPE_CHECKING:
    from argyll_redis.app import Argyll
    from argyll_redis.http.api import Api

Schema = Mapping[str, Any]
"""A JSON schema."""

MAX_WHOLE_DIGITS = 18
"""Of a number in a query: no version is longer."""


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a handler gets it: found, allowed, and its body read."""

    api: Api
    connection: HTTPConnection
    route: Route
    path: Mapping[str, str]
    """What stands for the names in the route's path."""
    query: Mapping[str, int]
    body: bytes = b""

    @property
    def app(self) -> Argyll:
        return self.api.app

    @property
    def request(self) -> Request:
        assert isinstance(self.connection, Request)
        return self.connection


Handler = Callable[[Call], Awaitable[Response | None]]
"""A websocket's handler gives nothing: it has answered by then."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One kind of answer."""

    says: str
    schema: Schema | None = None
    """None for an answer that is not JSON."""
    media_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number in the query."""

    says: str
    least: int


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table."""

    method: str
    path: str
    """Its segments; one in braces stands for any text."""
    name: str
    """Of the operation, in one word or more joined with `_`."""
    role: Role | None
    """What a key must allow; None needs no key."""
    handle: Handler
    says: str
    """One sentence, for people."""
    answers: Mapping[int, Answer]
    """Those beside the ones that every route has."""
    body: Schema | None = None
    numbers: Mapping[str, Number] = field(default_factory=dict[str, Number])
    """The query's parameters."""
    max_body_bytes: int = MAX_BODY_BYTES
    any_query: bool = False
    """Whether other parameters are passed over: for callers that add their own."""
    is_socket: bool = False

    segments: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "segments", tuple(self.path.strip("/").split("/")))

    @property
    def names(self) -> tuple[str, ...]:
        """The names in its path."""
        return tuple(segment[1:-1] for segment in self.segments if segment.startswith("{"))

    def match(self, segments: tuple[str, ...]) -> dict[str, str] | None:
        """What stands for the names in a path; None for another path."""
        if len(segments) != len(self.segments):
            return None
        found: dict[str, str] = {}
        for own, given in zip(self.segments, segments, strict=True):
            if own.startswith("{") and given:
                found[own[1:-1]] = given
            elif own != given:
                return None
        return found

    def read_query(self, given: list[tuple[str, str]]) -> dict[str, int]:
        """Reads the parameters that the route has. Raises `InvalidInput` with all that is wrong."""
        problems: list[Problem] = []
        found: dict[str, int] = {}
        for name, text in given:
            number = self.numbers.get(name)
            if number is None:
                if not self.any_query:
                    mend = did_you_mean(name, self.numbers) or one_of(self.numbers) or "leave it out"
                    problems.append(Problem(shown(name), "is not a parameter of this route", mend))
            elif name in found:
                problems.append(Problem(name, "is given twice", "give it once"))
            elif (value := _whole(text)) is None or value < number.least:
                mend = f"use a whole number of at least {number.least}"
                problems.append(Problem(name, f'"{shown(text)}" is out of range', mend))
            else:
                found[name] = value
        if problems:
            raise InvalidInput(problems=problems)
        return found


def _whole(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= MAX_WHOLE_DIGITS:
        return int(text)
    return None
