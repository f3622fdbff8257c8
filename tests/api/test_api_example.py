"""The example that users read first, as it is written, and what each line of it promises."""

from __future__ import annotations

from typing import Any

import pytest
from api_apps import Apps, deactivated, items_of, types_of

from argyll_redis import Argyll, FlowFailed, Retry, StepContext, Values

pytestmark = pytest.mark.anyio

ITEMS = [{"sku": "a", "price": 3}, {"sku": "b", "price": 4}]
INIT = {"customer_id": "c1", "order": {"no": 17}, "items": ITEMS}


class CardDeclined(Exception):
    """The bank said no."""


class Shop:
    """The example's app, with what its functions saw."""

    def __init__(self, app: Argyll) -> None:
        self.app = app
        self.contexts: list[StepContext] = []
        self.declined: set[str] = set()
        self.price_fails = 0

        @app.step(outputs="customer")
        async def lookup_customer(customer_id: str) -> dict[str, Any]:
            return {"id": customer_id}

        @app.step(outputs=("total", "tax"), retry=Retry(max_attempts=5, backoff="exponential", initial_ms=1))
        def price(order: dict[str, Any], customer: dict[str, Any]) -> dict[str, Any]:
            if self.price_fails:
                self.price_fails -= 1
                raise ConnectionError("the price list is away")
            return {"total": order["no"] * 10, "tax": len(customer["id"])}

        @app.step(outputs="receipt", for_each="items", parallelism=8, permanent=(CardDeclined,))
        async def charge(items: dict[str, Any], customer: dict[str, Any], ctx: StepContext) -> str:
            self.contexts.append(ctx)
            if items["sku"] in self.declined:
                raise CardDeclined(items["sku"])
            return f"{customer['id']} paid {items['price']}"

        self.lookup_customer, self.price, self.charge = lookup_customer, price, charge


@pytest.fixture
def shop(apps: Apps) -> Shop:
    return Shop(apps())


async def test_the_example_gives_a_receipt_for_each_item(apps: Apps, shop: Shop) -> None:
    await apps.run(shop.app)
    flow = await shop.app.start(goals=[shop.charge], init=INIT, id="order-17", labels={"tenant": "acme"})
    assert await flow.result(timeout_ms=30_000) == {
        "receipt": [
            {"items": ITEMS[0], "receipt": "c1 paid 3"},
            {"items": ITEMS[1], "receipt": "c1 paid 4"},
        ]
    }
    assert flow.id == "order-17"


async def test_only_what_the_goal_needs_is_run(apps: Apps, shop: Shop) -> None:
    await apps.run(shop.app)
    flow = await shop.app.start([shop.charge], INIT)
    assert sorted((await deactivated(flow))["executions"]) == ["charge", "lookup_customer"]


async def test_a_goal_is_a_function_or_a_step_id_and_one_needs_no_list(apps: Apps, shop: Shop) -> None:
    await apps.run(shop.app)
    for goals in ([shop.lookup_customer], ["lookup_customer"], shop.lookup_customer, "lookup_customer"):
        flow = await shop.app.start(goals, INIT)
        assert await flow.result() == {"customer": {"id": "c1"}}


async def test_several_outputs_come_from_a_mapping_and_a_failed_call_is_tried_again(
    apps: Apps, shop: Shop
) -> None:
    shop.price_fails = 2
    await apps.run(shop.app)
    flow = await shop.app.start([shop.price], INIT)
    assert await flow.result() == {"total": 170, "tax": 2}
    assert [item["retry_count"] for item in await items_of(flow, "price")] == [2]


async def test_max_attempts_ends_the_tries(apps: Apps, shop: Shop) -> None:
    shop.price_fails = 9
    await apps.run(shop.app)
    flow = await shop.app.start([shop.price], INIT)
    with pytest.raises(FlowFailed) as failed:
        await flow.result()
    error = "ConnectionError: the price list is away (after 5 attempts)"
    assert failed.value.root_cause == {"step": "price", "error": error}
    assert (await types_of(flow)).count("work_started") == 1 + 5


async def test_a_permanent_exception_fails_the_flow_at_once(apps: Apps, shop: Shop) -> None:
    shop.declined = {"b"}
    await apps.run(shop.app)
    flow = await shop.app.start([shop.charge], INIT)
    with pytest.raises(FlowFailed, match="CardDeclined: b"):
        await flow.result()
    assert "work_retry_scheduled" not in await types_of(flow)


async def test_each_call_is_told_its_flow_step_token_and_attempt(apps: Apps, shop: Shop) -> None:
    await apps.run(shop.app)
    flow = await shop.app.start([shop.charge], INIT)
    state = await deactivated(flow)
    tokens = list(state["executions"]["charge"]["work_items"])
    seen = [(c.flow_id, c.step_id, c.token, c.attempt, c.deadline) for c in shop.contexts]
    assert sorted(seen) == sorted((flow.id, "charge", token, 1, None) for token in tokens)
    assert [call.cancelled for call in shop.contexts] == [False, False]


async def test_a_list_in_init_is_one_value_and_values_gives_several(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="doubled")
    def double(number: Any) -> Any:
        return number * 2

    await apps.run(app)
    one = await app.start([double], {"number": [1, 2]})
    several = await app.start([double], {"number": Values(1, 2)})
    assert await one.result() == {"doubled": [1, 2, 1, 2]}
    assert await several.result() == {"doubled": 2}
    assert [value["value"] for value in (await several.state())["attributes"]["number"]] == [1, 2]


async def test_a_parameter_with_a_default_is_optional(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="greeting")
    def greet(name: str, word: str = "hello") -> str:
        return f"{word} {name}"

    await apps.run(app)
    plain = await app.start([greet], {"name": "Ann"})
    other = await app.start([greet], {"name": "Ann", "word": "good day"})
    assert await plain.result() == {"greeting": "hello Ann"}
    assert await other.result() == {"greeting": "good day Ann"}
    assert "word" not in (await plain.state())["attributes"]


async def test_hints_are_the_types_of_attributes(apps: Apps, shop: Shop) -> None:
    await shop.app.register_declared()
    charge = await shop.app.get_step("charge")
    types = {name: spec.get("type") for name, spec in charge["attributes"].items()}
    assert types == {"items": "array", "customer": "object", "receipt": "array"}


async def test_an_output_of_another_type_than_its_hint_fails_the_step(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="total")
    def count() -> int:
        return "many"  # type: ignore[return-value]

    await apps.run(app)
    flow = await app.start([count])
    with pytest.raises(FlowFailed, match='output "total" is not of its declared type number'):
        await flow.result()


async def test_a_step_keeps_its_function(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="sum", id="plus")
    def add(a: int, b: int = 1) -> int:
        return a + b

    assert (add(1), add(1, 2), add.__name__) == (2, 3, "add")
    assert list(app.declared) == ["plus"]
