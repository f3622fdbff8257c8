"""Two sources of one attribute: the first value is taken, and the dearer source is not asked.

A rate of exchange comes from our own cache, or from the bank, which wants a session first. Both provide
`rate`, so both are in the plan, and whatever can start does: the cache is read while the session is being
opened. Once there is a rate nobody wants another, and the bank, which has not been asked yet, is skipped.

When the cache does not have the currency its step fails. That is no failure of the flow: the goal can still
be reached by the other source. It would fail if both had.

    python docs/examples/alternatives.py

It runs in memory; with ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server.
"""

import asyncio
import os

from argyll_redis import Argyll, Failed

app = Argyll(os.environ.get("ARGYLL_REDIS_URL", "memory://"), namespace="example-alternatives")

CACHE = {"EUR": 1.25}


@app.step(outputs="rate")
async def read_cache(currency: str) -> float:
    if currency not in CACHE:
        raise Failed(f"{currency} is not in the cache")  # a plain exception would be tried again
    return CACHE[currency]


@app.step(outputs="session")
async def open_bank_session(currency: str) -> str:
    await asyncio.sleep(0.3)  # the bank takes its time
    return f"session for {currency}"


@app.step(outputs="rate")
async def ask_bank(currency: str, session: str) -> float:
    return 1.5


@app.step(outputs="price")
def convert(amount: int, rate: float) -> float:
    return amount * rate


async def story() -> None:
    for currency in ("EUR", "GBP"):
        flow = await app.start(goals=[convert], init={"amount": 100, "currency": currency})
        result = await flow.result(timeout_ms=10_000)
        [rate] = (await flow.state())["attributes"]["rate"]
        print(f"100 {currency} are {result['price']} USD, at the rate of {rate['step']}")
        for step in ("read_cache", "ask_bank"):
            why = await app.why(flow.id, step)
            print(f"  {step} is {why['status']}:")
            for clause in why["why"]:
                print(f"    {clause['text']} (event {clause['version']})")


async def main() -> None:
    async with app:
        await app.run(until=story)


if __name__ == "__main__":
    asyncio.run(main())
