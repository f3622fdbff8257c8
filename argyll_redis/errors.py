"""Every exception of the package; a class's docstring is its default message.

Four kinds, four treatments. *Declaration* errors are raised while somebody describes steps or asks
for a flow; they name the place and the mend. *Rejected* requests are answered and never retried.
*Environment* errors mean the server or the namespace is away or unfit; callers back off.
*Broken invariants* are bugs of this package; the flow they concern is left alone.

`http_status` is what the HTTP API answers and `exit_status` what the command line ends with, so
that every refusal has one class, one status code and one exit status.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with something that was given."""

    path: str
    """Where: a path into what was given, such as `attributes.order.required.collect`."""
    what: str
    """What is wrong, as a clause: `"frist" is not a collect policy`."""
    mend: str = ""
    """How to mend it, as an imperative: `use one of first, last`; empty when the clause says it."""

    def __str__(self) -> str:
        place = f"{self.path}: " if self.path else ""
        return f"{place}{self.what}" + (f" ({self.mend})" if self.mend else "")


MAX_PROBLEMS = 100
"""Problems that one refusal lists. What was given may be full of them, and the answer must not be many
times as large."""


def _bounded(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    more = len(problems) - MAX_PROBLEMS
    if more <= 0:
        return problems
    return (*problems[:MAX_PROBLEMS], Problem("", f"{more:,} more", "mend these first"))


class ArgyllError(Exception):
    """Something went wrong in argyll_redis."""

    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 2

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


# ---------------------------------------------------------------- declaration


class Invalid(ArgyllError):
    """What was given is not valid."""

    http_status = 400

    def __init__(self, message: str | None = None, *, problems: Iterable[Problem] = ()) -> None:
        self.problems: tuple[Problem, ...] = _bounded(tuple(problems))
        listed = "; ".join(str(problem) for problem in self.problems)
        super().__init__(": ".join(part for part in (message, listed) if part) or None)


class InvalidStep(Invalid):
    """The step definition is not valid."""


class InvalidCatalog(Invalid):
    """The steps do not go together."""


class InvalidInput(Invalid):
    """The request is not valid."""


class NoGoals(Invalid):
    """No goals were given; name at least one step that must be done."""


class MissingInputs(Invalid):
    """The plan needs initial values that were not given."""

    def __init__(self, names: Iterable[str], hints: Iterable[str] = ()) -> None:
        """`hints` are clauses that say what may be wrong with what was given."""
        self.names = tuple(sorted(names))
        needed = f"the goals need initial values for: {', '.join(self.names)} (give each a value)"
        super().__init__("; ".join([needed, *hints]))


class ScriptError(ArgyllError):
    """The script is not valid, or failed while it ran."""

    http_status = 400

    def __init__(
        self, message: str | None = None, *, line: int | None = None, column: int | None = None
    ) -> None:
        self.line = line
        self.column = column
        place = f"line {line}" if line is not None else ""
        if place and column is not None:
            place += f", column {column}"
        super().__init__(f"{place}: {message}" if place and message else message)


# ------------------------------------------------------------------- rejected


class UnknownStep(ArgyllError):
    """No step of this id is registered."""

    http_status = 404
    exit_status = 4


class UnknownGoal(UnknownStep):
    """A goal names a step that is not registered."""


class StepConflict(ArgyllError):
    """A step of this id is registered with another definition; update it instead."""

    http_status = 409


class UnknownFlow(ArgyllError):
    """No flow of this id exists."""

    http_status = 404
    exit_status = 4


class UnknownToken(ArgyllError):
    """No such flow, step or token."""

    http_status = 404
    exit_status = 4


class FlowConflict(ArgyllError):
    """A flow of this id exists and was started with something else; choose another id."""

    http_status = 409


class FlowImported(ArgyllError):
    """The flow was imported: it is read, never run."""

    http_status = 409


class FlowFailed(ArgyllError):
    """The flow failed."""

    exit_status = 1

    def __init__(
        self,
        message: str | None = None,
        *,
        flow_id: str = "",
        root_cause: Mapping[str, str] | None = None,
    ) -> None:
        self.flow_id = flow_id
        self.root_cause = dict(root_cause or {})
        """`{step, error}` of the failure that everything else followed from."""
        super().__init__(message)


# ------------------------------------------------------------ what a step says


class NotCompleted(Exception):
    """The work is not completed; try it again."""

    def __init__(self, message: str = "not completed", *, after_ms: int | None = None) -> None:
        self.after_ms = after_ms
        """Delay before the next attempt in ms; None leaves it to the step's retry policy."""
        super().__init__(message)


class Failed(Exception):
    """The work failed for good; do not try it again."""


# ---------------------------------------------------------------- environment


class StoreUnavailable(ArgyllError):
    """Redis cannot be reached."""

    http_status = 503
    exit_status = 3

    def __init__(self, message: str | None = None, *, address: str = "") -> None:
        self.address = address
        """Where nothing answered; empty when a server did."""
        super().__init__(message)


class StoreUnfit(StoreUnavailable):
    """Redis cannot be used as it is."""


class CallRefused(StoreUnfit):
    """Redis found fault with what was asked of it."""


class NamespaceEmptied(StoreUnavailable):
    """The namespace was emptied or replaced while in use; nothing more is written to it."""


class HistoryLost(StoreUnavailable):
    """Redis lost or forked the history of a flow; the flow is left alone."""

    def __init__(self, message: str | None = None, *, others_may_go_on: bool = False) -> None:
        self.others_may_go_on = others_may_go_on
        """Whether only what this process remembers speaks against the log: one that never knew more can
        read it, and goes on."""
        super().__init__(message)


class EventsMissed(ArgyllError):
    """Events came faster than they were taken, and some are missed; begin anew."""

    http_status = 503
    exit_status = 3


# ------------------------------------------------------------------------ bug


class InvariantBroken(ArgyllError):
    """A state change that no rule allows; this is a bug."""

    exit_status = 1


class UnknownEvent(ArgyllError):
    """The flow's log holds an event of a type this version does not know; leave it to newer engines."""

    exit_status = 1
