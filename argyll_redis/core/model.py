"""What people declare: steps, their attributes and retry policies, and the plan made of them.

Only shapes live here, parsed and checked already: `parse.py` makes them from JSON and refuses what
is wrong, `plan.py` chooses among them. All are frozen, so that a plan can be shared by every flow
that runs it. Times are integer milliseconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

StepId = NewType("StepId", str)
Token = NewType("Token", str)
JSON = Any
"""A plain JSON value: None, bool, int, float, str, list or dict with text keys."""


class StepType(StrEnum):
    """The kinds of work a step can be."""

    SYNC = "sync"
    ASYNC = "async"
    SCRIPT = "script"
    FLOW = "flow"
    PYTHON = "python"


def handler_of(type: StepType) -> str:
    """The name under which engines say that they can run steps of a type; no function has it."""
    return f"type:{type}"


class Role(StrEnum):
    """What a step has to do with an attribute."""

    REQUIRED = "required"
    OPTIONAL = "optional"
    CONST = "const"
    META = "meta"
    OUTPUT = "output"


class Collect(StrEnum):
    """How an input takes the values of its attribute."""

    FIRST = "first"
    LAST = "last"
    SOME = "some"
    ALL = "all"
    NONE = "none"


class AttributeType(StrEnum):
    """The declared type of a value."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    OBJECT = "object"
    ARRAY = "array"
    NULL = "null"
    ANY = "any"


class OnFailure(StrEnum):
    """What the permanent failure of one work item means for its step."""

    FAIL_FAST = "fail_fast"
    FINISH = "finish"
    TOLERATE = "tolerate"


class Backoff(StrEnum):
    """How the delay grows from retry to retry."""

    FIXED = "fixed"
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True)
class Script:
    """A piece of source in a named language: `lua` or `jpath`."""

    language: str
    script: str


@dataclass(frozen=True, slots=True)
class Mapping_:  # noqa: N801 - `Mapping` is the standard library's
    """How an attribute is named and transformed for the step's code."""

    name: str | None = None
    """The inner name; None keeps the attribute's own."""
    script: Script | None = None


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of one step. Fields that do not belong to the role keep their defaults."""

    name: str
    role: Role
    type: AttributeType | None = None
    collect: Collect = Collect.FIRST
    for_each: bool = False
    match: Script | None = None
    mapping: Mapping_ | None = None
    default: str | None = None
    """JSON text, of an optional input."""
    deadline_ms: int = 0
    value: str | None = None
    """JSON text, of a const."""
    key: str | None = None
    """What a meta input is filled with."""
    inner: str = field(init=False, compare=False, repr=False)
    """The name that the step's code sees."""
    has_script: bool = field(init=False, compare=False, repr=False)
    """Whether a mapping script transforms it."""

    def __post_init__(self) -> None:
        mapping = self.mapping
        object.__setattr__(self, "inner", mapping.name if mapping and mapping.name else self.name)
        object.__setattr__(self, "has_script", mapping is not None and mapping.script is not None)


@dataclass(frozen=True, slots=True)
class HttpWork:
    """Where a sync or async step is called."""

    endpoint: str
    method: str = "POST"
    timeout_ms: int = 30_000
    health_check: str | None = None
    compensate: str | None = None


@dataclass(frozen=True, slots=True)
class PythonWork:
    """Which registered function a python step calls, and on which queue."""

    handler: str
    queue: str = "default"
    permanent: tuple[str, ...] = ()
    undo: str | None = None


@dataclass(frozen=True, slots=True)
class WorkConfig:
    """How the work items of a step are run, retried and judged."""

    parallelism: int = 1
    max_retries: int = 10
    """Retries after "not completed"; -1 is without end."""
    init_backoff_ms: int = 1_000
    max_backoff_ms: int = 60_000
    backoff: Backoff = Backoff.EXPONENTIAL
    max_attempts: int = 0
    """Starts of any kind; 0 is without bound."""
    jitter: float = 0.0
    timeout_ms: int = 0
    """Longest an attempt may last; 0 is without bound."""
    on_failure: OnFailure = OnFailure.FAIL_FAST
    left_out: frozenset[str] = frozenset()
    """Fields of `RetryDefaults` that the definition left out, to be filled; none within a plan."""


@dataclass(frozen=True, slots=True)
class RetryDefaults:
    """What retry fields that a definition leaves out become, for the process that plans."""

    max_retries: int = 10
    init_backoff_ms: int = 1_000
    max_backoff_ms: int = 60_000
    backoff: Backoff = Backoff.EXPONENTIAL


@dataclass(frozen=True, slots=True)
class Step:
    """A declared capability: what it needs, what it provides, how its work is done."""

    id: StepId
    name: str
    type: StepType
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])
    """By attribute name, in name order."""
    http: HttpWork | None = None
    script: Script | None = None
    goals: tuple[StepId, ...] = ()
    """Of a flow step."""
    python: PythonWork | None = None
    predicate: Script | None = None
    memoizable: bool = False
    work: WorkConfig = field(default_factory=WorkConfig)
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    inputs: tuple[Attribute, ...] = ()
    """The required and optional attributes, in name order."""
    constants: tuple[Attribute, ...] = ()
    metas: tuple[Attribute, ...] = ()
    outputs: tuple[Attribute, ...] = ()
    for_each: tuple[Attribute, ...] = ()
    """The inputs that make work items, in name order; the first varies slowest."""
    needs: tuple[Attribute, ...] = field(default=(), compare=False, repr=False)
    """The required inputs, in name order."""
    patience: tuple[Attribute, ...] = field(default=(), compare=False, repr=False)
    """The optional inputs that are waited for, up to their deadlines, in name order."""
    maps_inputs: bool = field(default=False, compare=False, repr=False)
    """Whether a mapping script transforms any of its inputs."""
    maps_outputs: bool = field(default=False, compare=False, repr=False)

    @property
    def queue(self) -> str:
        """The queue its work waits in: a python step's own, `builtin` for all other types."""
        return self.python.queue if self.python else "builtin"

    @property
    def handler(self) -> str:
        """What an engine must say it has to run it: the function of a python step, `type:sync` and
        `type:async` for calls over HTTP; empty where every engine can."""
        if self.python:
            return self.python.handler
        return handler_of(self.type) if self.http else ""

    @property
    def can_undo(self) -> bool:
        """Whether it says how what its work has done is undone."""
        return bool((self.python and self.python.undo) or (self.http and self.http.compensate))


@dataclass(frozen=True, slots=True)
class AttributeUse:
    """Who provides and who consumes one attribute within a plan."""

    providers: tuple[StepId, ...] = ()
    consumers: tuple[StepId, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps that reach the goals, and why; fixed when a flow starts.

    Shared between flows and never changed, so what follows from it is worked out once, here.
    """

    goals: tuple[StepId, ...]
    required: tuple[str, ...]
    steps: Mapping[StepId, Step]
    """In id order."""
    attributes: Mapping[str, AttributeUse]
    excluded: Mapping[str, Mapping[StepId, tuple[str, ...]]]
    """`satisfied`, `missing`, `blocked`: step to attribute names."""
    why: Mapping[StepId, str]
    children: Mapping[StepId, Plan] = field(default_factory=dict[StepId, "Plan"])
    rank: Mapping[StepId, int] = field(default_factory=dict[StepId, int])
    """Position in the fixed order of a transaction: consumers before providers, ties by id."""
    has_gates: bool = False
    """Whether any input of any step has a match."""
