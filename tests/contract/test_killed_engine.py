"""What is left when an engine is killed in the middle of everything, and another one is there.

Many flows are brought to where the loss of an engine could matter; then theirs is killed, once. Each test
looks at one of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from contract_client import Outside, attributes, each, items, optional, types, values
from contract_engines import Start
from contract_services import Call, Reply, Services

contract = pytest.mark.contract

SOON_MS = 1_500
"""What is to happen only after the engine is dead: nothing is waited for between a start and its end."""


@dataclass(frozen=True)
class Aftermath:
    """A client, the flows by what each is about, and the calls that the dead engine had made."""

    outside: Outside
    flows: dict[str, str]
    first: dict[str, Call]

    def state(self, name: str) -> dict[str, Any]:
        return self.outside.end(self.flows[name])


@pytest.fixture(scope="module")
def after(start_engine: Start, services: Services) -> Iterator[Aftermath]:
    """All flows, after the engine that worked on them is dead and another one lives."""
    api, doomed = start_engine("--concurrency", "0"), start_engine()
    outside = Outside([api.url], services.desk())
    desk = outside.desk
    assert doomed.url
    held = ("charge", "once", "refund", "inner")
    desk.hold(*held)
    register_all(outside)
    flows = {name: outside.start(name) for name in ("charge", "once", "approve", "expire", "parent", "late")}
    flows["retry"] = outside.start("retry")
    flows["undo"] = outside.start("book", init={"room": [1, 2]})
    flows["deadline"] = outside.start("priced")
    flows["time"] = outside.start("approve", timeout=SOON_MS)
    first = {id: desk.await_calls(id)[0] for id in held}
    first["approve"] = next(
        call for call in desk.await_calls("approve", 2) if call.headers["Argyll-Flow-ID"] == flows["approve"]
    )
    first["late"] = desk.await_calls("late")[0]
    for name in ("approve", "expire", "late", "parent"):
        outside.follow(flows[name], "work_accepted")
    outside.follow(flows["retry"], "work_retry_scheduled")
    outside.follow(flows["deadline"], "deadline_started")
    outside.follow(flows["undo"], "comp_started")
    start_engine()
    doomed.kill()
    desk.release(*held)
    yield Aftermath(outside, flows, first)
    outside.close()


def register_all(outside: Outside) -> None:
    service, desk = outside.service, outside.desk
    soon = {"max_retries": 3, "init_backoff": SOON_MS, "backoff_type": "fixed"}
    outside.register(
        service("charge", "", "paid"),
        service("once", "", "sent", work_config={"max_attempts": 1}),
        service("approve", "", "approved", type="async"),
        service("expire", "", "expired", type="async", work_config={"timeout": SOON_MS, "max_attempts": 1}),
        service("late", "", "late", type="async", work_config={"timeout": SOON_MS, "init_backoff": 1}),
        service("retry", "", "tried", work_config=soon),
        service("inner", "", "given"),
        {"id": "parent", "type": "flow", "flow": {"goals": ["inner"]}, "attributes": attributes("", "given")},
        service("book", {"room": each()}, "booked", http={"compensate": outside.undone_at("refund")}),
        service("slow", "", "rate", type="async"),
        outside.script(
            "priced",
            {"rate": optional(deadline=SOON_MS, default="7")},
            "price",
            lua="return {price = rate}",
        ),
    )
    desk.answer("charge", {"paid": 1})
    desk.answer("once", {"sent": 1})
    desk.answer("inner", {"given": 1})
    desk.answer("retry", Reply(503), {"tried": 1})
    desk.answer("book", lambda call: {"booked": 1} if call.body["room"] == 1 else Reply(400, "no"))


@contract(
    "outcomes", "Work of a killed engine is started again at once under the same token, attempt 2, as lost."
)
def test_a_lost_attempt_is_called_again_under_its_token(after: Aftermath) -> None:
    assert after.state("charge")["status"] == "completed"
    first, second = after.outside.desk.calls("charge")
    assert (first.token, first.attempt, second.attempt) == (second.token, 1, 2)
    reasons = [
        each["data"]["reason"] for each in after.outside.of_type(after.flows["charge"], "work_started")
    ]
    assert reasons == ["first", "lost"]


@contract("outcomes", "A loss is no retry: it takes nothing from the budget of retries.")
def test_a_loss_is_not_counted_as_a_retry(after: Aftermath) -> None:
    [item] = items(after.state("charge"), "charge")
    assert (item["status"], item["retry_count"]) == ("succeeded", 0)


@contract(
    "outcomes", "At most once: with one attempt allowed a lost one is not called again, and fails as unknown."
)
def test_with_one_attempt_a_lost_one_fails_with_outcome_unknown(after: Aftermath) -> None:
    state = after.state("once")
    assert (state["status"], len(after.outside.desk.calls("once"))) == ("failed", 1)
    assert "outcome unknown" in state["error"]


@contract(
    "outcomes", "What was accepted is not lost with the engine that called: its outcome is taken anywhere."
)
def test_an_accepted_item_outlives_its_engine(after: Aftermath) -> None:
    flow = after.flows["approve"]
    answer = after.outside.http.post(after.first["approve"].webhook_path, json={"approved": "yes"})
    assert (answer.status_code, after.state("approve")["status"]) == (200, "completed")
    assert len(after.outside.of_type(flow, "work_started")) == 1


@contract("outcomes", "The wait for an outcome from outside ends at its timeout, whoever is dead by then.")
def test_a_wait_ends_at_its_timeout_without_the_engine_that_began_it(after: Aftermath) -> None:
    state = after.state("expire")
    assert (
        state["status"],
        types(after.outside.events(after.flows["expire"])).count("work_not_completed"),
    ) == (
        "failed",
        1,
    )


@contract("tokens", "A success counts from any attempt while its item is open, an expired one included.")
def test_a_success_of_an_earlier_attempt_counts(after: Aftermath) -> None:
    after.outside.follow(after.flows["late"], "work_accepted", attempt=2)
    first = after.first["late"]
    answer = after.outside.http.post(
        first.webhook_path, json={"late": "first"}, headers={"Argyll-Attempt": str(first.attempt)}
    )
    assert (answer.status_code, values(after.state("late"), "late")) == (200, ["first"])


@contract("outcomes", "A retry that was scheduled by an engine that died is made by another one, once.")
def test_a_scheduled_retry_outlives_its_engine(after: Aftermath) -> None:
    assert after.state("retry")["status"] == "completed"
    assert [call.attempt for call in after.outside.desk.calls("retry")] == [1, 2]


@contract("inputs", "A deadline survives every process that knew of it; the default is never an attribute.")
def test_a_deadline_outlives_the_engine_that_saw_it_start(after: Aftermath) -> None:
    flow = after.flows["deadline"]
    after.outside.follow(flow, "flow_completed")
    assert after.outside.result(flow) == {"price": 7}
    assert len(after.outside.of_type(flow, "deadline_passed")) == 1
    assert values(after.outside.state(flow), "rate") == []


@contract("life", "A flow ends at its timeout, whoever started it.")
def test_a_flow_times_out_though_its_engine_is_dead(after: Aftermath) -> None:
    after.outside.follow(after.flows["time"], "flow_failed")
    assert "timed out" in after.outside.state(after.flows["time"])["error"]


@contract(
    "memo and undo", "An undo is work like any other: a lost one is called again, under its next attempt."
)
def test_a_lost_undo_is_called_again(after: Aftermath) -> None:
    state = after.state("undo")
    assert [item["status"] for item in items(state, "book")] == ["compensated", "failed"]
    assert [call.attempt for call in after.outside.desk.calls("refund")] == [1, 2]
    assert len({call.text for call in after.outside.desk.calls("refund")}) == 1


@contract("children", "A child whose engine was killed goes on, and its parent with it.")
def test_a_child_outlives_its_engine(after: Aftermath) -> None:
    state = after.state("parent")
    assert (state["status"], values(state, "given")) == ("completed", [1])
    first, second = after.outside.desk.calls("inner")
    assert first.headers["Argyll-Flow-ID"] == second.headers["Argyll-Flow-ID"]
    assert first.headers["Argyll-Flow-ID"].startswith(f"{after.flows['parent']}:parent:")
