"""How a flow is tested: a step alone, the whole flow in no time, and under faults that find a real bug.

An order is priced, the card is charged and a receipt is sent. `charge` has a bug that no ordinary test
shows: it gives the bank no idempotency key. An engine that dies between the charge and its commit leaves
an attempt that looks lost, another engine makes the next one, and the card is charged twice. The simulator
finds that, says which single fault it takes, and shows that the mended step holds.

    python docs/examples/testing_a_flow.py

It needs no server and no test framework; the functions whose names begin with `test_` are found by pytest
as they are.
"""

from argyll_redis import Argyll, NotCompleted, Retry, StepContext
from argyll_redis.testing import LOST, FlowView, attempts, call_twice, given, simulate


class Bank:
    """Stands for the bank: it remembers what it was asked for, and by which key."""

    def __init__(self) -> None:
        self.charges: list[int] = []
        self._by_key: dict[str, str] = {}

    def charge(self, amount: int, key: str | None = None) -> str:
        """Charges the card, once for each key."""
        if key in self._by_key:
            return self._by_key[key]
        self.charges.append(amount)
        payment = f"payment-{len(self.charges)}"
        if key is not None:
            self._by_key[key] = payment
        return payment


bank = Bank()


def new_bank() -> Bank:
    """Puts a new bank in place of the one that the steps use."""
    global bank
    bank = Bank()
    return bank


# ------------------------------------------------------------------------- the flow

app = Argyll("redis://localhost:6379/0", namespace="shop")  # the tests never connect to it


@app.step(outputs="total")
def price(items: list) -> int:
    return sum(items)


@app.step(outputs="payment", retry=Retry(max_attempts=5, backoff="fixed", initial_ms=60_000))
def charge(total: int) -> str:
    return bank.charge(total)  # the bug: a second call is a second charge


@app.step(outputs="receipt")
async def send_receipt(payment: str, total: int) -> str:
    return f"{payment}: {total}"


def charge_once(total: int, ctx: StepContext) -> str:
    """The mended step. The token is the same for every attempt of a work item."""
    return bank.charge(total, key=ctx.token)


# ------------------------------------------------------------------------- the tests

ORDER = {"items": [30, 20]}


def test_an_order_is_charged_and_a_receipt_sent() -> None:
    new_bank()
    flow = given(app, ORDER).when(goals=[send_receipt])
    flow.then(result={"receipt": "payment-1: 50"}, ran=[price, charge, send_receipt])


def test_a_bank_that_is_busy_is_asked_again_after_a_minute() -> None:
    busy = attempts(NotCompleted("busy"), NotCompleted("busy"), "payment-1")
    flow = given(app, ORDER).replace({charge: busy}).when(goals=[send_receipt])
    flow.then(attempts={charge: 3}, retried_after_ms={charge: [60_000, 60_000]})
    assert 120_000 <= flow.took_ms < 121_000  # virtual: the test takes some milliseconds


def test_a_lost_engine_is_replaced() -> None:
    flow = given(app, ORDER).replace({price: attempts(LOST, 50)}).when(goals=[send_receipt])
    flow.then(attempts={price: 2}, why={price: "lost"})


def charged_once(flow: FlowView) -> None:
    """What must hold at the end of every run, whatever befell the engines."""
    assert flow.world.charges == [50], f"the card was charged {len(flow.world.charges)} times"


def test_under_faults_the_card_is_charged_once() -> None:
    report = simulate(
        app,
        goals=[send_receipt],
        init=ORDER,
        seeds=30,
        world=new_bank,
        check=charged_once,
        replace={charge: charge_once},
    )
    assert report.passed, report


# ------------------------------------------------------------------------- the story


def main() -> None:
    for test in (
        test_an_order_is_charged_and_a_receipt_sent,
        test_a_bank_that_is_busy_is_asked_again_after_a_minute,
        test_a_lost_engine_is_replaced,
    ):
        test()
        print(f"passed: {test.__name__}")

    print("\nAll is well, it seems. The same step, called twice for one work item:")
    new_bank()
    try:
        call_twice(app, charge, {"total": 50}, effects=lambda: bank.charges)
    except AssertionError as error:
        print(f"  {error}")

    print("\nThe flow under faults:")
    report = simulate(app, goals=[send_receipt], init=ORDER, seeds=30, world=new_bank, check=charged_once)
    print(report)

    print("\nWith the token as the idempotency key:")
    test_under_faults_the_card_is_charged_once()
    print("30 seeds, and the card was charged once in each")


if __name__ == "__main__":
    main()
