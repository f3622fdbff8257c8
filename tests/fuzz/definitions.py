"""Step definitions, sets of them, goals and initial values: read, registered, planned, shown."""

from __future__ import annotations

from typing import Any

from argyll_redis.core.catalog import Catalog, apply_all, register
from argyll_redis.core.model import RetryDefaults
from argyll_redis.core.parse import parse_goals, parse_init, parse_labels, parse_metadata, parse_step
from argyll_redis.core.parse_plan import parse_plan
from argyll_redis.core.plan import make_plan, plan_to_json, preview
from argyll_redis.errors import ArgyllError, Invalid
from argyll_redis.scripting.evaluator import Evaluator
from argyll_redis.starting import read_request
from argyll_redis.store.codec import encode, parse
from tests.fuzz.cases import Wrong
from tests.fuzz.draw import Draw
from tests.fuzz.samples import STEPS

_EVALUATOR = Evaluator()


class Definitions:
    """Cases of what people declare and ask for, without any store."""

    def __init__(self) -> None:
        self._input: Any = None

    def close(self) -> None:
        pass

    def shown(self) -> str:
        return repr(self._input)

    def run(self, draw: Draw) -> None:
        match draw.number(10):
            case 0 | 1 | 2 | 3:
                self._one_step(draw)
            case 4 | 5 | 6:
                self._a_set(draw)
            case 7:
                self._a_plan(draw)
            case _:
                self._a_request(draw)

    def _one_step(self, draw: Draw) -> None:
        """As over HTTP, bytes first; and as from Python, values that are no JSON among them."""
        document = draw.changed(draw.one(STEPS)) if draw.chance(90) else draw.value()
        self._input = document
        if draw.chance(50):
            self._input = data = draw.bytes_of(document)
            document = _refused(lambda: parse(data))
        step = _refused(lambda: parse_step(document, _EVALUATOR.compile))
        if step is not None:
            encode(document)

    def _a_set(self, draw: Draw) -> None:
        """Several steps, registered together, and plans of them."""
        given = [draw.one(STEPS) for _ in range(1 + draw.number(6))]
        given = [draw.changed(each, 1) if draw.chance(40) else each for each in given]
        goals = [draw.one(STEPS)["id"] if draw.chance(90) else draw.text() for _ in range(1 + draw.number(3))]
        init = {draw.text(): [draw.value()] for _ in range(draw.number(4))}
        self._input = {"steps": given, "goals": goals, "init": init}
        events = _refused(lambda: register(Catalog(), given, compile_script=_EVALUATOR.compile))
        if not events:
            return
        catalog = apply_all(Catalog(), [(event, 1) for event in events])
        values = _refused(lambda: parse_init(init))
        names = _refused(lambda: parse_goals(goals))
        if values is None or names is None:
            return
        plans = [
            _refused(lambda: preview(catalog, names, values, RetryDefaults())),
            _refused(lambda: make_plan(catalog, names, values, RetryDefaults())),
        ]
        for plan in filter(None, plans):
            again = parse_plan(parse(encode(plan_to_json(plan)), spare=16))
            if encode(plan_to_json(again)) != encode(plan_to_json(plan)):
                raise Wrong("a plan is read otherwise than it was written")

    def _a_plan(self, draw: Draw) -> None:
        """A plan as an import has it, which anybody may have written."""
        catalog = apply_all(Catalog(), [(each, 1) for each in register(Catalog(), list(STEPS))])
        goals = parse_goals([draw.one(STEPS)["id"]])
        document = draw.changed(plan_to_json(preview(catalog, goals, {}, RetryDefaults())))
        self._input = document
        plan = _refused(lambda: parse_plan(document))
        if plan is not None:
            plan_to_json(plan)

    def _a_request(self, draw: Draw) -> None:
        request = {"id": "a", "goals": ["a"], "init": {"a": 1}, "labels": {"a": "b"}, "metadata": {"a": 1}}
        document = draw.changed({**request, "compensate": "flow", "timeout_ms": 5})
        self._input = document
        _refused(lambda: read_request(document, _id_of))
        for read in (parse_goals, parse_init, parse_labels, parse_metadata):
            value = draw.value()
            self._input = (read.__name__, value)
            _refused(lambda: read(value))  # noqa: B023 - called at once


def _id_of(goal: Any) -> str:
    return goal


def _refused(ask: Any) -> Any:
    """What it gives; None when it is refused as it ought to be: with an error of ours that says what."""
    try:
        return ask()
    except ArgyllError as error:
        if error.http_status >= 500:
            raise
        if isinstance(error, Invalid) and any(not problem.what for problem in error.problems):
            raise Wrong(f"a refusal does not say what is wrong: {error}") from None
        if len(str(error)) > 200_000:
            raise Wrong(f"a refusal has {len(str(error)):,} characters") from None
        return None
