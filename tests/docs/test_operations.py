"""What docs/operations.md says of Redis is tried on a real server: the rights that a user needs."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from doc_words import DOCS, ROOT
from redis.exceptions import NoPermissionError
from servers import TestServer

from argyll_redis import ACCEPTED, Argyll, NotCompleted, Retry, StepContext

PAGE = DOCS / "operations.md"
NAME, SECRET = "argyll", "PASSWORD"
NAMESPACE = "{shop"
COMMAND = re.compile(r"""(?:redis\.p?call\('|\(\s*")([A-Z]+)['"]""")
"""A command that a Lua script or a store gives."""


def documented_rule() -> list[str]:
    """The words of `ACL SETUSER`, as the page has them."""
    [fence] = re.findall(r"^```text\n(ACL SETUSER .*?)^```", PAGE.read_text(), re.S | re.M)
    return fence.split()


def allowed() -> set[str]:
    return {word[1:] for word in documented_rule() if word.startswith("+")}


@pytest.fixture
def user(real_server: TestServer) -> Iterator[str]:
    """The documented user, for the namespace of the test; gives the URL to connect with."""
    name = f"{NAME}-{real_server.namespace}"
    words = [word.replace(NAMESPACE, f"{{{real_server.namespace}") for word in documented_rule()]
    real_server.client.execute_command(*(name if word == NAME else word for word in words))
    yield real_server.url.replace("unix://", f"unix://{name}:{SECRET}@")
    real_server.client.acl_deluser(name)


def refused(server: TestServer) -> list[str]:
    """What the server has refused to users of this namespace."""
    log: Any = server.client.acl_log()
    return [str(each["object"]) for each in log if str(each["username"]).endswith(server.namespace)]


@pytest.mark.anyio
async def test_the_documented_user_may_do_all_that_an_app_does(user: str, real_server: TestServer) -> None:
    app = Argyll(user, real_server.namespace)

    @app.step(outputs="orders", retry=Retry(backoff="fixed", initial_ms=1))
    async def list_orders(day: str, ctx: StepContext) -> list:
        if ctx.attempt == 1:
            raise NotCompleted("the list is locked")
        return [{"n": 1}, {"n": 2}]

    @app.step(outputs="invoice", for_each="orders", parallelism=2, queue="printing")
    async def invoice(orders: dict) -> str:
        return f"invoice {orders['n']}"

    @app.step(outputs="approval")
    async def approve(day: str) -> Any:
        return ACCEPTED

    @app.step(outputs="sent")
    async def send(invoice: list, approval: str) -> int:
        return len(invoice)

    engine = asyncio.create_task(app.run())
    flow = await app.start([send], {"day": "monday"}, labels={"tenant": "acme"}, timeout_ms=60_000)
    async for event in flow.events():
        if event["type"] == "work_accepted":
            await app.complete(flow.id, "approve", event["data"]["token"], {"approval": "yes"})
    assert await flow.result(timeout_ms=20_000) == {"sent": 2}

    assert await app.cancel((await app.start([approve], {"day": "tuesday"})).id)
    lines = [line async for line in app.export_flow(flow.id)]
    await app.import_flow([{**lines[0], "flow_id": "copy"}, *lines[1:]])
    assert (await app.restart(flow.id)).id != flow.id
    assert await app.why(flow.id, "send")
    assert await app.flows()
    assert (await app.query(labels={"tenant": "acme"}, statuses=["completed"]))["total"]
    assert await app.queue_stats()
    assert (await app.audit())["violations"] == []
    findings = (await app.doctor())["findings"]
    assert [each for each in findings if each["level"] == "fault" or "INFO" in each["what"]] == []
    engine.cancel()
    await asyncio.gather(engine, return_exceptions=True)
    store = (await app.node()).store
    for partition in range(store.partitions):
        await store.expire(partition, keep_ms=0, limit=100)
        await store.reap(partition, 0)
    await app.close()
    assert refused(real_server) == []


def test_the_documented_user_may_touch_no_other_namespace(user: str, real_server: TestServer) -> None:
    with redis.Redis.from_url(user, protocol=2) as client:
        for key in ("plain", "{other}:meta", f"{{{real_server.namespace}2}}:meta"):
            with pytest.raises(NoPermissionError):
                client.get(key)


@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "CONFIG GET maxmemory", "ACL LIST", "DEL x"])
def test_the_documented_user_may_do_nothing_else(command: str, user: str) -> None:
    client = redis.Redis.from_url(user, protocol=2)
    with client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


def test_the_documented_user_of_another_database_needs_one_right_more(
    user: str, real_server: TestServer
) -> None:
    name = f"{NAME}-{real_server.namespace}"
    key = f"{{{real_server.namespace}}}:meta"
    with redis.Redis.from_url(f"{user}?db=1", protocol=2) as client:
        with pytest.raises(NoPermissionError):
            client.get(key)
        real_server.client.execute_command("ACL", "SETUSER", name, "+select")
        assert client.get(key) is None


def test_the_documented_commands_remove_a_namespace_and_no_other(real_server: TestServer) -> None:
    """Labels, which are parts of keys, may hold blanks and quotes."""
    other = f"{{{real_server.namespace}2}}:meta"

    async def use() -> None:
        app = Argyll(real_server.url, real_server.namespace)
        await app.register_steps(
            [{"id": "a", "type": "python", "attributes": {}, "python": {"handler": "a"}}]
        )
        await app.start(["a"], labels={"said": 'it\'s "a b"'})
        await app.close()

    asyncio.run(use())
    real_server.client.set(other, "kept")
    [fence] = re.findall(r"^```sh\n(redis-cli --scan .*?)^```", PAGE.read_text(), re.S | re.M)
    socket = real_server.url.removeprefix("unix://")
    script = fence.replace(NAMESPACE, f"{{{real_server.namespace}").replace(
        "redis-cli", f"redis-cli -s {socket}"
    )
    assert real_server.all_keys()
    subprocess.run(["bash", "-euo", "pipefail", "-c", script], check=True, capture_output=True, timeout=30)
    kept = real_server.client.get(other)
    real_server.client.delete(other)
    assert (real_server.all_keys(), kept) == ([], b"kept")


def test_the_documented_commands_are_those_that_scripts_and_stores_give(real_server: TestServer) -> None:
    """After a change to a script or a store, change the page."""
    files = [*(ROOT / "lua").rglob("*.lua"), *(ROOT / "argyll_redis/store").glob("*.py")]
    words = {word.lower() for file in files for word in COMMAND.findall(file.read_text())}
    listed: Any = real_server.client.command_list()
    known = {name.decode() for name in listed}
    assert sorted(allowed()) == sorted(words & known)
