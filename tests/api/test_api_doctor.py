"""The doctor looks at server and namespace, says what to mend, and touches nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from api_apps import Apps
from broken import ServerHand
from servers import StoreFactory, TestServer, kinds

from argyll_redis import Argyll, StoreUnavailable, StoreUnfit, doctor, doctor_keys, doctor_pending
from argyll_redis.runtime.condition import Condition
from argyll_redis.steps import http as http_module
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Dispatch, EngineInfo, Entry, Keep, Store, Turn, partition_of

pytestmark = pytest.mark.anyio

on_servers = pytest.mark.parametrize("store_factory", kinds("fakeredis"), indirect=True)
"""For what cannot happen in memory."""
on_real_servers = pytest.mark.parametrize("store_factory", kinds(), indirect=True)
"""For what fakeredis does in its own way."""


@pytest.fixture
def hand(store_factory: StoreFactory) -> ServerHand:
    return ServerHand(store_factory)


async def found(app: Argyll, level: str = "") -> list[str]:
    """What the doctor says, of one level or all."""
    findings = (await app.doctor())["findings"]
    assert all(each.keys() == {"level", "what", "mend"} for each in findings)
    assert all(bool(each["mend"]) == (each["level"] != "ok") for each in findings)
    return [each["what"] for each in findings if level in ("", each["level"])]


# ------------------------------------------------------------------- namespace


async def test_a_namespace_that_does_not_exist_is_not_created(
    apps: Apps, store_factory: StoreFactory
) -> None:
    said = await found(apps())
    assert "namespace argyll does not exist yet: its first use creates it" in said
    if store_factory.server is not None:
        assert store_factory.server.all_keys() == []


async def test_open_flows_without_an_engine_are_a_warning_and_with_one_all_is_well(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="b", id="double")
    async def double(a: int) -> int:
        return a

    await app.register_declared()
    assert "no engine is alive, and no flow needs one" in await found(app, "ok")
    await app.start(["double"], {"a": 1})
    assert "1 flow is open, and no engine is alive" in await found(app, "warning")
    running = await apps.run_known(app)
    said = await found(app, "ok")
    engine = (await running.engine()).config.id
    assert f"1 engine is alive: `{engine}`" in said
    assert "every registered python step has its handler in a live engine" in said
    assert "no work waits in a queue that no live engine serves" in said


async def test_a_queue_that_nobody_serves_and_a_handler_that_nobody_has_are_named(apps: Apps) -> None:
    app, other = apps(), apps()

    @app.step(outputs="b", queue="gpu")
    async def render(a: int) -> int:
        return a

    await app.start_many([{"goals": ["render"], "init": {"a": n}} for n in range(2)])
    await apps.run_known(other)
    said = await found(app, "warning")
    assert "2 entries wait in queue `gpu`, which no live engine serves" in said
    assert "no live engine has the handler of step `render`" in said


async def test_a_step_type_that_no_engine_can_run_is_named(memory: Apps) -> None:
    """One that takes calls for later needs an address for their outcomes."""
    app = memory()
    http = {"endpoint": "http://127.0.0.1:1/"}
    await app.register_steps([{"id": type, "type": type, "http": http} for type in ("sync", "async")])
    await memory.run_known(app)
    assert [each for each in await found(app, "warning") if "type" in each] == [
        "no live engine can run steps of type async"
    ]


async def test_both_types_of_calls_are_named_where_the_package_for_them_is_missing(
    memory: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_module, "find_spec", lambda name: None)
    app = memory()
    http = {"endpoint": "http://127.0.0.1:1/"}
    await app.register_steps([{"id": type, "type": type, "http": http} for type in ("sync", "async")])
    await memory.run_known(app)
    assert [each for each in await found(app, "warning") if "type" in each] == [
        "no live engine can run steps of type async",
        "no live engine can run steps of type sync",
    ]


async def test_many_steps_without_a_handler_are_counted(apps: Apps) -> None:
    app, other = apps(), apps()
    for n in range(8):
        app.step(_identity(), id=f"s{n}", outputs=f"b{n}")
    await app.register_declared()
    await apps.run_known(other)
    [said] = [each for each in await found(app, "warning") if "handler" in each]
    assert said.startswith("no live engine has the handler of steps `s0`, `s1`")
    assert said.endswith("and 3 more")


async def test_an_open_flow_that_needs_a_function_which_the_catalog_has_forgotten_is_named(
    apps: Apps,
) -> None:
    app, other = apps(), apps()
    app.step(_identity(), id="render", outputs="b")
    await app.start(["render"], {"a": 1}, id="f")
    await app.unregister_step("render")
    await apps.run_known(other)
    said = [each for each in await found(other) if "handler" in each]
    assert said == [
        "every registered python step has its handler in a live engine",
        "1 open flow waits for handler `render`, which no live engine has: `f`",
    ]


def _identity() -> Callable[..., Any]:
    async def same(a: int) -> int:
        return a

    return same


async def test_entries_that_nobody_could_read_are_counted(apps: Apps, store_factory: StoreFactory) -> None:
    app = apps()
    await app.register_steps([])
    store: Store = store_factory()
    await store.open()
    partition = partition_of("f", store.partitions)
    await store.commit([Turn(partition, "f", 0, "", "t", (), [Dispatch("control", "nonsense")])])
    entries = await store.block("x", [(partition, "control")], 100)
    await store.bury(Entry(partition, "control", entries[0].id, "nonsense"), "no such kind")
    [said] = [each for each in await found(app, "warning") if "could read" in each]
    assert said == (
        "1 entry that nobody could read is in `dead`; the newest: `nonsense` of control "
        f"(partition {partition}): no such kind"
    )


# --------------------------------------------------------------------- pending


async def test_what_is_pending_and_not_lost_is_counted(apps: Apps) -> None:
    app = apps()
    app.step(_identity(), id="render", outputs="b")
    await app.start(["render"], {"a": 1})
    assert "1 entry is pending, and none is lost" in await found(app, "ok")


async def test_too_much_to_look_into_is_said(apps: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_pending, "MAX_PENDING", 1)
    app = apps()
    app.step(_identity(), id="render", outputs="b")
    await app.start_many([{"goals": ["render"], "init": {"a": n}} for n in range(2)])
    said = await found(app, "warning")
    assert "2 entries are pending, too many to look into each (1 at most)" in said


@on_servers
async def test_streams_that_somebody_deleted_are_named(apps: Apps, hand: ServerHand) -> None:
    app = apps()
    await app.register_steps([])
    assert hand.client.delete(hand.key("f", "control"))
    assert "streams or their groups are gone: `control`" in await found(app, "warning")
    assert hand.client.exists(hand.key("f", "control")) == 0


@on_servers
async def test_entries_that_somebody_trimmed_are_counted(apps: Apps, hand: ServerHand) -> None:
    app = await _started(apps)
    hand.deliver("f", "work:default", "dead")
    hand.client.xtrim(hand.key("f", "work:default"), maxlen=0, approximate=False)
    said = await found(app, "warning")
    assert (
        "1 entry that an engine had is gone from the stream: somebody trimmed it, or deleted from it" in said
    )


@on_real_servers
async def test_entries_of_a_consumer_that_somebody_removed_are_counted(apps: Apps, hand: ServerHand) -> None:
    app = await _started(apps)
    hand.deliver("f", "work:default", "dead")
    hand.drop_consumer("f", "work:default", "dead")
    said = await found(app, "warning")
    assert "1 entry is delivered, and no engine has it: somebody removed a consumer" in said


@on_real_servers
async def test_what_a_dead_engine_has_and_what_is_overdue_is_said_when_others_are_alive(
    apps: Apps, hand: ServerHand, store_factory: StoreFactory
) -> None:
    app = await _started(apps)
    hand.deliver("f", "work:default", "dead")
    [row] = hand.client.xpending_range(hand.key("f", "work:default"), "engines", "-", "+", 1)
    hand.client.xclaim(
        hand.key("f", "work:default"), "engines", "dead", 0, [row["message_id"]], idle=60_000, justid=True
    )
    hand.client.zadd(hand.key("f", "due"), {"control f look": 1})
    assert [each for each in await found(app) if "sign of life" in each or "moved" in each] == []
    store = store_factory()
    await store.open()
    await store.keep(Keep(EngineInfo("other", ("gpu",), (), 10_000), due_limit=0))
    said = await found(app, "warning")
    [stuck] = [each for each in said if "sign of life" in each]
    assert stuck.startswith(
        "engine `dead`, which is not alive, has had 1 entry without a sign of life for up to"
    )
    assert [each for each in said if "1 due entry should have been moved" in each] != []


async def test_engines_say_what_is_wrong_with_them(apps: Apps, store_factory: StoreFactory) -> None:
    app = await _started(apps)
    store: Store = store_factory()
    await store.open()
    state = Condition("Redis is full", 7, {"f": "its history is lost"}).to_text()
    await store.keep(Keep(EngineInfo("e1", (), (), 10_000, state), due_limit=0))
    assert await found(app, "fault") == ["engine `e1` begins nothing: Redis is full"]
    said = await found(app, "warning")
    assert "engine `e1` leaves 7 flows alone: `f`: its history is lost" in said


async def _started(apps: Apps) -> Argyll:
    """A flow `f` whose work is released, and no engine."""
    app = apps()
    app.step(_identity(), id="render", outputs="b")
    await app.start(["render"], {"a": 1}, id="f")
    return app


# ------------------------------------------------------------------------ keys


async def test_keys_as_they_should_be_are_counted(apps: Apps) -> None:
    app = await _started(apps)
    assert "keys that are as they should be: 0" not in await found(app, "ok")
    assert [each for each in await found(app, "ok") if each.startswith("keys that are as they")] != []


async def test_only_so_many_keys_are_looked_at(apps: Apps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_keys, "MAX_KEYS", 0)
    app = await _started(apps)
    [said] = [each for each in await found(app, "ok") if "as they should be" in each]
    assert said.endswith(", and there are more")


@on_servers
async def test_keys_that_are_not_as_they_should_be_are_named(apps: Apps, hand: ServerHand) -> None:
    app = await _started(apps)
    unknown, foreign = hand.key("f", "mine"), hand.key("f", "label:a=b")
    mortal = hand.key("f", "flow:f")
    hand.client.set(unknown, "x")
    hand.client.set(foreign, "x")
    hand.client.expire(mortal, 1_000)
    assert await found(app, "fault") == [
        f"keys of another type than they should have (1): `{foreign}`",
        f"keys that the server will remove, for they have a time to live (1): `{mortal}`",
    ]
    assert f"keys that no part of a namespace has (1): `{unknown}`" in await found(app, "warning")
    hand.client.delete(unknown, foreign)


@on_servers
@pytest.mark.parametrize("name", ["open", "due", "head:f", "flow:f", "work:builtin"])
async def test_a_key_of_another_type_is_named_whatever_it_stands_in_the_way_of(
    apps: Apps, hand: ServerHand, name: str
) -> None:
    """The server says that there is one, and not which."""
    app, foreign = await _started(apps), hand.key("f", name)
    hand.client.delete(foreign)
    hand.client.set(foreign, "x")
    said = f"keys of another type than they should have (1): `{foreign}`"
    assert (await found(app, "fault"))[-1] == said
    with pytest.raises(StoreUnfit, match=re.escape(f"`{foreign}`")):
        await app.repair()
    hand.client.delete(foreign)


@on_servers
async def test_halves_of_flows_are_named(apps: Apps, hand: ServerHand) -> None:
    app = await _started(apps)
    await app.start(["render"], {"a": 1}, id="g")
    hand.drop_head("f")
    hand.drop_log("g")
    said = await found(app, "warning")
    assert "flows of which the head is gone (1): `f`" in said
    assert "flows of which the log is gone (1): `g`" in said


# ---------------------------------------------------------------------- server


@contextmanager
def configured(server: TestServer, **settings: object) -> Iterator[None]:
    """A server with other settings, for a while."""
    names = {name.replace("_", "-"): value for name, value in settings.items()}
    before = {name: server.client.config_get(name)[name] for name in names}
    for name, value in names.items():
        server.client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in reversed(before.items()):
            server.client.config_set(name, value)


def at(server: TestServer, **options: Any) -> Argyll:
    return Argyll(server.url, server.namespace, **options)


async def test_a_real_server_is_told_of_in_full(real_server: TestServer) -> None:
    said = await found(at(real_server))
    version = real_server.client.info()["redis_version"]
    assert f"the server is Redis {version}" in said or any("Valkey" in each for each in said)
    assert {"it is a master", "it drops no keys (noeviction)", "it runs scripts"} <= set(said)
    assert any("of memory, without a limit" in each for each in said)
    assert any("its clock goes as the one here does" in each for each in said)
    assert [each for each in await found(at(real_server), "warning") if "append-only" in each] != []
    assert await found(at(real_server), "fault") == []


async def test_a_server_that_drops_keys_is_a_fault_and_the_namespace_is_not_looked_at(
    real_server: TestServer,
) -> None:
    with configured(real_server, maxmemory_policy="allkeys-lru"):
        said = await found(at(real_server))
        faults = await found(at(real_server), "fault")
    assert faults == ["the eviction policy allkeys-lru drops keys"]
    assert [each for each in said if "namespace" in each] == []
    with configured(real_server, maxmemory_policy="volatile-ttl"):
        assert await found(at(real_server), "fault") == []


async def test_a_server_that_is_full_runs_no_scripts(real_server: TestServer) -> None:
    with configured(real_server, maxmemory=1):
        findings = (await at(real_server).doctor())["findings"]
    [fault] = [each for each in findings if each["level"] == "fault"]
    assert fault == {
        "level": "fault",
        "what": "it runs no scripts: Redis is out of memory and refuses writes",
        "mend": "raise maxmemory",
    }
    assert any("when it is full it refuses writes" in each["what"] for each in findings)


async def test_a_user_who_may_not_ask_for_info_is_a_warning(real_server: TestServer) -> None:
    real_server.client.acl_setuser(
        "shy", enabled=True, nopass=True, keys=["*"], commands=["+@all", "-info"], channels=["*"]
    )
    try:
        app = Argyll(real_server.url.replace("unix://", "unix://shy:x@"), real_server.namespace)
        assert "INFO is refused, so nobody knows if the server is fit" in await found(app, "warning")
    finally:
        real_server.client.acl_deluser("shy")


@pytest.mark.parametrize(
    ("lacking", "level"), [("-xadd", "fault"), ("-scan", "warning")], ids=["to work", "to look"]
)
async def test_what_a_user_may_not_do_is_named(lacking: str, level: str, real_server: TestServer) -> None:
    real_server.client.acl_setuser(
        "shy", enabled=True, nopass=True, keys=["*"], commands=["+@all", lacking], channels=["*"]
    )
    try:
        app = Argyll(real_server.url.replace("unix://", "unix://shy:x@"), real_server.namespace)
        [said] = [each for each in await found(app, level) if "lacks rights" in each]
    finally:
        real_server.client.acl_deluser("shy")
    assert said.startswith("the Redis user lacks rights")


async def test_a_wrong_password_is_a_fault(real_server: TestServer) -> None:
    app = Argyll(real_server.url.replace("unix://", "unix://nobody:s3cret@"), real_server.namespace)
    [fault] = await found(app, "fault")
    assert "wants another user or password" in fault


async def test_a_namespace_of_another_layout_is_a_fault(real_server: TestServer) -> None:
    app = at(real_server)
    async with app:
        pass
    real_server.client.hset(real_server.keys.meta, "layout", 99)
    assert await found(app, "fault") == [
        f"namespace {real_server.namespace} has layout 99, and this version knows 1"
    ]


async def test_a_namespace_of_which_a_part_is_gone_is_a_fault(real_server: TestServer) -> None:
    app = at(real_server)
    async with app:
        pass
    real_server.client.delete(real_server.keys.id(3))
    [fault] = await found(app, "fault")
    assert "is missing" in fault


async def test_a_server_that_cannot_be_reached_is_no_finding() -> None:
    with pytest.raises(StoreUnavailable, match="cannot reach redis"):
        await Argyll("redis://localhost:1/0").doctor()


async def test_in_memory_nothing_is_kept() -> None:
    server = MemoryServer()
    app = Argyll(make_store=lambda: MemoryStore(server=server))
    assert await found(app, "warning") == ["in memory, this process only, nothing is kept"]


@pytest.mark.parametrize(("ahead_ms", "said"), [(5_000, "behind"), (-5_000, "ahead of")])
async def test_clocks_that_differ_are_a_warning(
    ahead_ms: int, said: str, real_server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall_ms = doctor.wall_ms
    monkeypatch.setattr(doctor, "wall_ms", lambda: wall_ms() + ahead_ms)
    [warning] = [each for each in await found(at(real_server), "warning") if "clock" in each]
    assert f"{said} the one here" in warning
