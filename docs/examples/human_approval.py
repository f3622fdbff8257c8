"""A person decides: a step asks and returns `ACCEPTED`, and the flow waits for the answer.

Waiting costs nothing: no thread, no task, no engine has the work in hand, and engines may come and go. The
answer is given by flow, step and token; from Python with `app.complete` (or `app.fail`), from a terminal
with `argyll flow complete FLOW STEP --output approved=true`, where no token is needed as long as one item
waits (ARGYLL_REDIS_URL and ARGYLL_NAMESPACE say where the flow is). Both are safe to repeat: the first answer
counts.

How long is waited:

- The step's `timeout_ms` covers the answer too. When it passes, the attempt is not completed, and the step
  is called again as its retry policy says: here the person is asked once more, a day later, and then the
  step fails.
- The flow's own `timeout_ms`, given at its start, ends the flow as failed, whatever it waits for.
- A flow that is over still waits for open answers for `linger_ms` (an hour, unless `AppConfig` says
  otherwise), so that what was decided is on record. After that the log is closed.

    python docs/examples/human_approval.py

It runs in memory; with ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server.
"""

import asyncio
import os

from argyll_redis import ACCEPTED, Accepted, Argyll, FlowFailed, Retry, StepContext

app = Argyll(os.environ.get("ARGYLL_REDIS_URL", "memory://"), namespace="example-approval")

DAY_MS = 24 * 3_600_000
asked: asyncio.Queue[StepContext] = asyncio.Queue()
"""Stands for the mails that went out."""


@app.step(outputs="approved", timeout_ms=DAY_MS, retry=Retry(max_attempts=2))
async def approve(item: str, amount: int, ctx: StepContext) -> bool | Accepted:
    await asked.put(ctx)  # a mail with a link that holds flow, step and token: whoever has it may answer
    return ACCEPTED


@app.step(outputs="order", predicate="return approved")
async def place_order(item: str, approved: bool) -> str:
    return f"{item} is ordered"


async def story() -> None:
    print("An answer:")
    flow = await app.start(goals=[place_order], init={"item": "a new server", "amount": 4_000})
    mail = await asked.get()
    print(f"  the flow is {(await flow.state())['status']}, and waits for {mail.step_id}")
    print(f"  on a server: argyll flow complete {flow.id} approve --output approved=true")
    counted = await app.complete(flow.id, "approve", mail.token, {"approved": True})
    print(f"  here: app.complete counted: {counted}")
    print(f"  the result is {await flow.result(timeout_ms=10_000)}")
    counted = await app.complete(flow.id, "approve", mail.token, {"approved": False})
    print(f"  somebody else says no, later: app.complete counted: {counted}")

    print("A no:")
    flow = await app.start(goals=[place_order], init={"item": "a yacht", "amount": 4_000_000})
    mail = await asked.get()
    await app.complete(flow.id, "approve", mail.token, {"approved": False})
    print(f"  the result is {await flow.result(timeout_ms=10_000)}")
    print(f"  place_order: {(await app.why(flow.id, 'place_order'))['why'][-1]['text']}")

    print("No answer:")
    flow = await app.start(goals=[place_order], init={"item": "a chair", "amount": 90}, timeout_ms=1_000)
    try:
        await flow.result(timeout_ms=10_000)
    except FlowFailed as failed:
        print(f"  {failed}")
    [waiting] = await app.waiting(flow.id, "approve")
    await app.complete(flow.id, "approve", waiting["token"], {"approved": True})
    state = await flow.state()
    print(f"  an answer within linger_ms is on record: {state['attributes']['approved'][0]['value']}")
    print(f"  but it orders nothing: place_order is {state['executions']['place_order']['status']}")


async def main() -> None:
    async with app:
        await app.run(until=story)


if __name__ == "__main__":
    asyncio.run(main())
