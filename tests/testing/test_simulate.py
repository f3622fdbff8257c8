"""`simulate`: a user's bug is found and made small, a mended flow passes, and a seed is one run."""

from __future__ import annotations

import subprocess
import sys

import pytest

from argyll_redis import ACCEPTED, Argyll, MissingInputs, Retry, StepContext
from argyll_redis.errors import InvalidInput
from argyll_redis.testing import FlowView, Later, simulate

app = Argyll("redis://nobody.invalid:1/0", namespace="kit")
SEEDS_FOR_THE_BUG = 10
"""As the guide says: the step without an idempotency key shows within so many seeds."""
ORDER = {"items": [30, 20]}
charges: dict[str, int] = {}
charged: list[int] = []


@app.step(outputs="total")
def price(items: list) -> int:
    return sum(items)


@app.step(outputs="payment", retry=Retry(max_attempts=5))
def charge(total: int) -> int:
    charged.append(total)
    return total


def charge_once(total: int, ctx: StepContext) -> int:
    if ctx.token not in charges:
        charges[ctx.token] = total
        charged.append(total)
    return total


def charge_each_attempt(total: int, ctx: StepContext) -> int:
    key = f"{ctx.token}/{ctx.attempt}"
    charges.setdefault(key, total)
    charged[:] = charges.values()
    return total


@app.step(outputs="approved")
async def approve(payment: int) -> bool:
    return ACCEPTED


def new_world() -> list[int]:
    charges.clear()
    charged.clear()
    return charged


def charged_once(flow: FlowView) -> None:
    if flow.world != [50]:
        raise AssertionError(f"charged {len(flow.world)} times")


def test_a_step_that_charges_twice_is_found() -> None:
    report = simulate(app, [charge], ORDER, seeds=SEEDS_FOR_THE_BUG, world=new_world, check=charged_once)
    assert "check: charged 2 times" in report.failures[0].violations


def test_the_mended_step_passes() -> None:
    mended = {charge: charge_once}
    report = simulate(app, [charge], ORDER, seeds=30, world=new_world, check=charged_once, replace=mended)
    assert report.passed, report
    assert report.repeated["charge"] > 0  # it was tried


def test_a_key_that_differs_at_each_attempt_does_not_mend_it() -> None:
    mended = {charge: charge_each_attempt}
    report = simulate(
        app, [charge], ORDER, seeds=SEEDS_FOR_THE_BUG, world=new_world, check=charged_once, replace=mended
    )
    assert not report.passed


def test_a_failing_seed_is_brought_down_to_the_faults_that_it_takes() -> None:
    report = simulate(app, [charge], ORDER, seeds=SEEDS_FOR_THE_BUG, world=new_world, check=charged_once)
    assert (len(report.failures[0].faults), report.failures[0].drawn > 1) == (1, True)


def test_a_replay_is_the_same_run() -> None:
    [first, *_] = simulate(app, [charge], ORDER, world=new_world, check=charged_once).failures
    again = simulate(
        app, [charge], ORDER, seeds=[first.seed], faults=first.faults, world=new_world, check=charged_once
    )
    assert again.failures[0].trace == first.trace


def test_without_its_fault_a_seed_passes() -> None:
    [first, *_] = simulate(app, [charge], ORDER, world=new_world, check=charged_once).failures
    report = simulate(
        app, [charge], ORDER, seeds=[first.seed], faults=[], world=new_world, check=charged_once
    )
    assert report.passed, report


def test_a_report_names_what_replays_it() -> None:
    report = simulate(app, [charge], ORDER, seeds=SEEDS_FOR_THE_BUG, world=new_world, check=charged_once)
    first = report.failures[0]
    assert f"replay: simulate(..., seeds=[{first.seed}], faults={list(first.faults)!r})" in str(report)


def test_a_bug_that_needs_no_fault_is_said_to_need_none() -> None:
    report = simulate(app, [charge], ORDER, seeds=1, check=lambda flow: flow.then(result={"payment": 1}))
    assert (report.failures[0].faults, "with no fault at all" in str(report)) == ((), True)


def test_a_check_that_breaks_is_a_failure() -> None:
    report = simulate(app, [charge], ORDER, seeds=1, check=lambda flow: flow.result["nothing"])
    assert report.failures[0].violations == ("check raised KeyError: 'nothing'",)


def test_an_outcome_is_brought_from_outside_in_every_seed() -> None:
    later = {approve: Later(True, after_ms=3_600_000)}
    report = simulate(app, [approve], ORDER, seeds=5, replace=later)
    assert (report.passed, report.statuses["completed"]) == (True, 5), report


def test_a_flow_that_waits_for_nobody_does_not_end() -> None:
    report = simulate(app, [approve], ORDER, seeds=1)
    assert "flow-1 does not end: it waits for the outcome of approve from outside" in str(report)


def test_what_a_start_refuses_is_refused() -> None:
    with pytest.raises(MissingInputs, match="items"):
        simulate(app, [charge], {})


def test_no_seeds_are_refused() -> None:
    with pytest.raises(InvalidInput, match="seeds is 0"):
        simulate(app, [charge], ORDER, seeds=0)


@pytest.mark.parametrize("module", ["pytest", "hypothesis"])
def test_the_kit_needs_no_test_framework(module: str) -> None:
    code = f"import sys; sys.modules[{module!r}] = None; from argyll_redis.testing import *"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_package_does_not_import_the_kit() -> None:
    code = "import sys, argyll_redis; argyll_redis.Argyll; print('argyll_redis.testing' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "False\n"
