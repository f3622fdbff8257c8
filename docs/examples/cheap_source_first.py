"""A cheap source first: the dear one is asked only when the cheap one gave nothing (`collect: none`).

An address is in our own book, or a bureau sells it. Were both plain alternatives they would both be asked, as
whatever can start does (see alternatives.py). Here the bureau has an input that must *not* be there:
`known` with `collect: none`. It has what it needs when all who could provide `known` are done, and none did.
So it waits for the book. When the book has the address the bureau is never called: its step fails before it
starts, since it cannot have what it needs. That is no failure of the flow, which has its address.

To give nothing, a function leaves the name out of the mapping that it returns; with one output alone, what
it returns is the value, None too, so the book gives a note as well.

A book that cannot be read gives nothing, either, and `none` does not ask why: the bureau is then asked, and
paid, as the last order shows.

    python docs/examples/cheap_source_first.py

It runs in memory; with ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server.
"""

import asyncio
import os

from argyll_redis import Argyll, Failed

app = Argyll(os.environ.get("ARGYLL_REDIS_URL", "memory://"), namespace="example-cheap-source")

BOOK = {"Ann": "1 Mill Lane"}


@app.step(outputs=("known", "note"))
def look_in_book(customer: str) -> dict:
    if customer == "Cy":
        raise Failed("the page is torn")
    if customer not in BOOK:
        return {"note": "not in the book"}
    return {"known": BOOK[customer], "note": "in the book"}


@app.step(outputs="address")
def take_known(known: str) -> str:
    return known


@app.step(outputs="bought")
def buy(customer: str) -> str:
    return f"an address of {customer}, for 2 EUR"


ASK_BUREAU = {
    "id": "ask_bureau",
    "type": "python",
    "python": {"handler": "buy"},
    "attributes": {
        "customer": {"role": "required", "type": "string"},
        "known": {"role": "required", "type": "string", "required": {"collect": "none"}},
        "address": {"role": "output", "type": "string", "output": {"mapping": {"name": "bought"}}},
    },
}
"""A definition, as `@app.step` declares plain inputs only. It calls the function `buy`."""


@app.step(outputs="letter")
def write(address: str) -> str:
    return f"to {address}"


async def story() -> None:
    await app.register_steps([ASK_BUREAU])
    for customer in ("Ann", "Bo", "Cy"):
        flow = await app.start(goals=[write], init={"customer": customer})
        result = await flow.result(timeout_ms=10_000)
        print(f"{customer}: a letter {result['letter']}")
        for step in ("look_in_book", "ask_bureau"):
            why = await app.why(flow.id, step)
            print(f"  {step} is {why['status']}: {why['why'][-1]['text']}")


async def main() -> None:
    async with app:
        await app.run(until=story)


if __name__ == "__main__":
    asyncio.run(main())
