"""What docs/guide/secure-redis.md says is tried on real servers: the rights that a user needs."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from doc_words import DOCS, ROOT
from redis.exceptions import NoPermissionError
from servers import TestServer

from argyll_redis import ACCEPTED, Argyll, NotCompleted, Retry, StepContext
from argyll_redis.cli.waiting import VARIABLES
from argyll_redis.store.permissions import LOOKED, TRIED

PAGE = (DOCS / "guide/secure-redis.md").read_text()
NAME, SECRET = "argyll", "PASSWORD"
NAMESPACE = "{shop"
COMMAND = re.compile(r"""(?:redis\.p?call\('|\(\s*")([A-Z]+)['"]""")
"""A command that a Lua script or a store gives."""
OF_OTHERS = {"sentinel", "cluster", "asking"}
"""Commands of sentinels, and of clusters, whose page has them."""
DONE_WITHOUT = {"config", "config|get"}
"""What the doctor asks for and does without, as the page says."""


def documented_rule() -> list[str]:
    """The words of `ACL SETUSER`, as the page has them."""
    [fence] = re.findall(r"^```text\n(ACL SETUSER .*?)^```", PAGE, re.S | re.M)
    return fence.split()


def added_for(subject: str) -> list[str]:
    """What the table adds for something."""
    [words] = re.findall(rf"^\| [^|]*{re.escape(subject)}[^|]*\| `([^`]*)` \|", PAGE, re.M)
    return words.split()


def allowed(words: list[str]) -> set[str]:
    return {word[1:] for word in words if word.startswith("+")}


class User:
    """The documented user, for the namespace of a test."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        self.name = f"{NAME}-{server.namespace}"
        self.add(*(word.replace(NAMESPACE, f"{{{server.namespace}") for word in documented_rule()[3:]))
        self.url = server.url.replace("unix://", f"unix://{self.name}:{SECRET}@")

    def add(self, *words: str) -> None:
        self.server.client.execute_command("ACL", "SETUSER", self.name, *words)

    def refused(self) -> list[str]:
        """What the server has refused to it."""
        log: Any = self.server.client.acl_log()
        refused = {str(each["object"]) for each in log if str(each["username"]) == self.name}
        return sorted(refused - DONE_WITHOUT)


@pytest.fixture
def user(real_server: TestServer) -> Iterator[User]:
    made = User(real_server)
    yield made
    real_server.client.acl_deluser(made.name)


def app_of(user: User) -> Argyll:
    app = Argyll(user.url, user.server.namespace)

    @app.step(outputs="orders", retry=Retry(backoff="fixed", initial_ms=1))
    async def list_orders(day: str, ctx: StepContext) -> list:
        if ctx.attempt == 1:
            raise NotCompleted("the list is locked")
        return [{"n": 1}, {"n": 2}]

    @app.step(outputs="invoice", for_each="orders", parallelism=2, queue="printing", memoizable=True)
    async def invoice(orders: dict) -> str:
        return f"invoice {orders['n']}"

    @app.step(outputs="approval")
    async def approve(day: str) -> Any:
        return ACCEPTED

    @app.step(outputs="sent")
    async def send(invoice: list, approval: str) -> int:
        return len(invoice)

    return app


async def use(app: Argyll) -> str:
    """Does all that apps and engines do; gives the id of a flow."""
    engine = asyncio.create_task(app.run())
    flow = await app.start(["send"], {"day": "monday"}, labels={"tenant": "acme"}, timeout_ms=60_000)
    async for event in flow.events():
        if event["type"] == "work_accepted":
            await app.complete(flow.id, "approve", event["data"]["token"], {"approval": "yes"})
    assert await flow.result(timeout_ms=20_000) == {"sent": 2}
    assert await app.cancel((await app.start(["approve"], {"day": "tuesday"})).id)
    lines = [line async for line in app.export_flow(flow.id)]
    await app.import_flow([{**lines[0], "flow_id": "copy"}, *lines[1:]])
    assert (await app.restart(flow.id)).id != flow.id
    assert await app.why(flow.id, "send")
    assert await app.flows()
    assert (await app.query(labels={"tenant": "acme"}, statuses=["completed"]))["total"]
    assert await app.queue_stats()
    engine.cancel()
    await asyncio.gather(engine, return_exceptions=True)
    store = (await app.node()).store
    for partition in range(store.partitions):
        await store.expire(partition, keep_ms=0, limit=100)
        await store.reap(partition, 0)
    return flow.id


@pytest.mark.anyio
async def test_the_documented_user_may_do_all_that_an_app_does(user: User) -> None:
    async with app_of(user) as app:
        await use(app)
    assert user.refused() == []


@pytest.mark.anyio
async def test_with_what_the_table_adds_an_operator_may_look(user: User) -> None:
    user.add(*added_for("argyll doctor"))
    async with app_of(user) as app:
        await use(app)
        assert (await app.audit())["violations"] == []
        findings = (await app.doctor())["findings"]
        assert [each for each in findings if each["level"] == "fault" or "right" in each["what"]] == []
    assert user.refused() == []


@pytest.mark.parametrize("command", ["doctor", "audit", "queue", "flow list", "step list"])
def test_the_commands_work_under_the_documented_user(command: str, user: User) -> None:
    user.add(*added_for("argyll doctor"))
    place = ["--redis", user.url, "--namespace", user.server.namespace]
    asyncio.run(registered(app_of(user)))
    done = subprocess.run(
        [sys.executable, "-m", "argyll_redis.cli", *command.split(), *place],
        cwd=ROOT, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert (done.returncode, user.refused()) == (0, []), done.stderr


async def registered(app: Argyll) -> None:
    async with app:
        await app.register_declared()


def test_the_documented_user_may_touch_no_other_namespace(user: User) -> None:
    with redis.Redis.from_url(user.url, protocol=2) as client:
        for key in ("plain", "{other}:meta", f"{{{user.server.namespace}2}}:meta"):
            with pytest.raises(NoPermissionError):
                client.get(key)


@pytest.mark.parametrize("command", ["FLUSHALL", "KEYS *", "CONFIG GET maxmemory", "ACL LIST", "DEL x"])
def test_the_documented_user_may_do_nothing_else(command: str, user: User) -> None:
    with redis.Redis.from_url(user.url, protocol=2) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


def test_the_documented_user_of_another_database_needs_one_right_more(user: User) -> None:
    key = f"{{{user.server.namespace}}}:meta"
    with redis.Redis.from_url(f"{user.url}?db=1", protocol=2) as client:
        with pytest.raises(NoPermissionError):
            client.get(key)
        user.add(*added_for("a database other than 0"))
        assert client.get(key) is None


@pytest.mark.parametrize(
    ("subject", "command"), [("a Sentinel URL", "ROLE"), ("wait for copies", "WAIT 0 1")]
)
def test_what_else_is_asked_for_needs_what_the_table_adds(subject: str, command: str, user: User) -> None:
    with redis.Redis.from_url(user.url, protocol=2) as client:
        with pytest.raises(NoPermissionError):
            client.execute_command(*command.split())
        listed: Any = user.server.client.command_list()
        known = {name.decode() for name in listed}
        user.add(*(word for word in added_for(subject) if word[1:] in known))
        client.execute_command(*command.split())


def test_the_documented_commands_are_those_that_scripts_and_stores_give(real_server: TestServer) -> None:
    """After a change to a script or a store, change the page, and `store/permissions.py`."""
    files = [*(ROOT / "lua").rglob("*.lua"), *(ROOT / "argyll_redis/store").glob("*.py")]
    words = {word.lower() for file in files for word in COMMAND.findall(file.read_text())}
    listed: Any = real_server.client.command_list()
    known = {name.decode() for name in listed} | {"waitaof"}
    subjects = ("argyll doctor", "a Sentinel URL", "wait for copies")
    documented = allowed(documented_rule()).union(*(allowed(added_for(each)) for each in subjects))
    assert sorted(documented) == sorted((words & known) - OF_OTHERS - DONE_WITHOUT)


def test_the_rights_that_are_looked_for_are_those_of_the_page() -> None:
    tried = {call[0].lower() for call in TRIED} | {"eval", "evalsha"}
    assert sorted(tried | {"info"}) == sorted(allowed(documented_rule()))
    looked = {call[0].lower() for call in LOOKED} - {"info"}
    assert sorted(looked) == sorted(allowed(added_for("argyll doctor")))


def test_the_page_names_the_variables_that_all_commands_read() -> None:
    assert [name for name in VARIABLES.values() if f"`{name}" not in PAGE] == []
