"""Hello: three steps, and a goal that decides which of them run.

No step calls another, and nobody writes down an order. A step says what it needs (its parameters) and
what it provides (`outputs`). A flow is asked for a goal; the engine works out which steps lead there and
runs those. Asked for less, it does less.

    python docs/examples/hello.py

It runs in memory; with ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server.
"""

import asyncio
import os

from argyll_redis import Argyll, FlowHandle

app = Argyll(os.environ.get("ARGYLL_REDIS_URL", "memory://"), namespace="example-hello")


@app.step(outputs="customer")
async def look_up_customer(customer_id: str) -> dict:
    return {"id": customer_id, "name": "Ann", "language": "fr"}


@app.step(outputs="salutation")
def choose_salutation(customer: dict) -> str:  # a plain function runs in a thread
    return {"fr": "Bonjour", "en": "Hello"}[customer["language"]]


@app.step(outputs="greeting")
def greet(customer: dict, salutation: str) -> str:
    return f"{salutation}, {customer['name']}!"


async def story() -> None:
    flow = await app.start(goals=[greet], init={"customer_id": "c1"})
    print(f"The goal greet gave {await flow.result(timeout_ms=10_000)}")

    for step in ("look_up_customer", "choose_salutation", "greet"):
        why = await app.why(flow.id, step)
        print(f"\nWhy is {step} {why['status']}?")
        for clause in why["why"]:
            print(f"  {clause['text']} (event {clause['version']})")

    print("\nAnother goal, or more that is known at the start, is another plan:")
    flow = await app.start(goals=[look_up_customer], init={"customer_id": "c1"})
    await flow.result(timeout_ms=10_000)
    print(f"  look_up_customer alone ran {await ran(flow)}")

    flow = await app.start(goals=[greet], init={"customer_id": "c1", "salutation": "Good day"})
    result = await flow.result(timeout_ms=10_000)
    print(f"  greet with a salutation gave {result} and ran {await ran(flow)}")


async def ran(flow: FlowHandle) -> str:
    """The steps of the flow, in the order of their names."""
    return ", ".join((await flow.state())["executions"])


async def main() -> None:
    async with app:
        await app.run(until=story)  # an engine, as long as the story lasts


if __name__ == "__main__":
    asyncio.run(main())
