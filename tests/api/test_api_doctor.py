"""The doctor looks at server and namespace, says what to mend, and touches nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from api_apps import Apps
from servers import StoreFactory, TestServer

from argyll_redis import Argyll, StoreUnavailable, doctor
from argyll_redis.steps import http as http_module
from argyll_redis.store.memory import MemoryStore
from argyll_redis.store.memory_server import MemoryServer
from argyll_redis.store.protocol import Dispatch, Entry, Store, Turn, partition_of

pytestmark = pytest.mark.anyio


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
    running = await apps.run(app)
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
    await apps.run(other)
    said = await found(app, "warning")
    assert "2 entries wait in queue `gpu`, which no live engine serves" in said
    assert "no live engine has the handler of step `render`" in said


async def test_a_step_type_that_no_engine_can_run_is_named(memory: Apps) -> None:
    """One that takes calls for later needs an address for their outcomes."""
    app = memory()
    http = {"endpoint": "http://127.0.0.1:1/"}
    await app.register_steps([{"id": type, "type": type, "http": http} for type in ("sync", "async")])
    await memory.run(app)
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
    await memory.run(app)
    assert [each for each in await found(app, "warning") if "type" in each] == [
        "no live engine can run steps of type async",
        "no live engine can run steps of type sync",
    ]


async def test_many_steps_without_a_handler_are_counted(apps: Apps) -> None:
    app, other = apps(), apps()
    for n in range(8):
        app.step(_identity(), id=f"s{n}", outputs=f"b{n}")
    await app.register_declared()
    await apps.run(other)
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
    await apps.run(other)
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
    assert said == "1 entry that nobody could read is in `dead`; the newest: no such kind"


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
