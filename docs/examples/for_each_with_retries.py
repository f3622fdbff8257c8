"""One call an item: some are tried again, one cannot be saved, and the flow goes on.

An album is listed, a thumbnail is made of each photo (four at a time), and a page is made of those that
came out. The photo store is busy at the first attempt for two of them: the step says `NotCompleted`, and the
retry policy tries again, as it does for any exception. One file is damaged: `Failed` says that no attempt
would help. With `on_failure="tolerate"` the step completes with what succeeded; left out, one failed item
fails the step.

    python docs/examples/for_each_with_retries.py

It runs in memory; with ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server.
"""

import asyncio
import os

from argyll_redis import Argyll, Failed, NotCompleted, Retry, StepContext

app = Argyll(os.environ.get("ARGYLL_REDIS_URL", "memory://"), namespace="example-for-each")

ALBUM = ["beach.jpg", "harbour.jpg", "lighthouse.jpg", "market.jpg", "storm.jpg"]
BUSY = {"harbour.jpg", "market.jpg"}
DAMAGED = {"storm.jpg"}


@app.step(outputs="photos")
async def list_photos(album: str) -> list:
    return ALBUM


@app.step(
    outputs="thumbnail",
    for_each="photos",  # the input that is split: the function gets one photo a call
    parallelism=4,
    retry=Retry(max_attempts=5, backoff="exponential", initial_ms=20, max_ms=1_000),
    on_failure="tolerate",
)
async def make_thumbnail(photos: str, ctx: StepContext) -> str:
    if photos in BUSY and ctx.attempt == 1:
        raise NotCompleted("the photo store is busy")
    if photos in DAMAGED:
        raise Failed("the file is damaged")
    return photos.replace(".jpg", ".thumb.webp")


@app.step(outputs="page")
def make_page(thumbnail: list) -> str:
    """Gets one object for each thumbnail that was made: the item, and what came of it."""
    return ", ".join(f"{row['photos']} -> {row['thumbnail']}" for row in thumbnail)


async def story() -> None:
    flow = await app.start(goals=[make_page], init={"album": "holiday"})
    result = await flow.result(timeout_ms=10_000)

    step = (await flow.state())["executions"]["make_thumbnail"]
    print("PHOTO            STATUS     RETRIES  ERROR")
    for item in step["work_items"].values():
        photo, error = item["inputs"]["photos"], item.get("error", "")
        print(f"{photo:<16} {item['status']:<10} {item['retry_count']:>7}  {error}".rstrip())
    print(f"\nThe step is {step['status']}; the page has:")
    print(result["page"].replace(", ", "\n"))

    print("\nWhy?")
    for clause in (await app.why(flow.id, "make_thumbnail"))["why"]:
        print(f"  {clause['text']} (event {clause['version']})")


async def main() -> None:
    async with app:
        await app.run(until=story)


if __name__ == "__main__":
    asyncio.run(main())
