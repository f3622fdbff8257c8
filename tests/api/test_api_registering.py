"""How an app's steps get into the catalog: added, updated, refused, removed, or left as they are."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_apps import Apps

from argyll_redis import (
    Argyll,
    InvalidCatalog,
    InvalidInput,
    InvalidStep,
    Retry,
    StepConflict,
    UnknownStep,
)
from argyll_redis.errors import StoreUnavailable

pytestmark = pytest.mark.anyio


def in_module(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as if a module had declared it: that is what an app is known by."""
    function.__module__ = name
    return function


def orders(app: Argyll, *, tax: int = 1, module: str = "orders") -> None:
    """Two steps of an app; `tax` changes the definition of one."""

    def price(order: dict[str, Any]) -> int:
        return tax

    def ship(total: int) -> str:
        return "sent"

    retry = Retry(max_attempts=tax + 1)
    app.step(in_module(module, price), outputs="total", retry=retry)
    app.step(in_module(module, ship), outputs="sent")


async def version(app: Argyll) -> int:
    return (await (await app.node()).catalog.refresh()).version


async def max_attempts(app: Argyll, step: str = "price") -> int:
    return (await app.get_step(step))["work_config"]["max_attempts"]


async def ids(app: Argyll) -> list[str]:
    return [step["id"] for step in await app.steps()]


async def test_all_steps_are_registered_as_one_transaction_at_first_use(apps: Apps) -> None:
    app = apps()
    orders(app)
    assert await ids(app) == []
    await app.start(["ship"], {"order": {}})
    assert await ids(app) == ["price", "ship"]
    node = await app.node()
    assert len({event.tx for event in await node.store.catalog(0)}) == 1


async def test_an_engine_registers_when_it_starts(apps: Apps) -> None:
    app = apps()
    orders(app)
    await apps.run(app)
    assert await ids(apps()) == ["price", "ship"]


async def test_equal_steps_append_nothing(apps: Apps) -> None:
    first = apps()
    orders(first)
    await first.register_declared()
    before = await version(first)
    for again in (apps(), apps(register="strict"), apps(register="sync"), apps(version=3)):
        orders(again)
        await again.register_declared()
        await again.register_declared()
    assert await version(first) == before


async def test_a_step_that_is_declared_later_is_registered_later(apps: Apps) -> None:
    app = apps()
    orders(app)
    await app.register_declared()

    @app.step(outputs="z")
    def later() -> int:
        return 1

    await app.start([later])
    assert await ids(app) == ["later", "price", "ship"]


async def test_many_starts_at_once_register_once(apps: Apps) -> None:
    app = apps()
    orders(app)
    await asyncio.gather(*(app.start(["ship"], {"order": {}}) for _ in range(20)))
    assert await version(app) == 2


async def test_changed_steps_are_updated_and_logged(apps: Apps, caplog: pytest.LogCaptureFixture) -> None:
    old, new = apps(), apps()
    orders(old)
    await old.register_declared()
    orders(new, tax=5)
    with caplog.at_level(logging.INFO, "argyll_redis"):
        await new.register_declared()
    assert await max_attempts(old) == 6
    assert "step price was updated" in caplog.messages
    assert "step ship was updated" not in caplog.messages


async def test_running_flows_keep_the_steps_they_started_with(apps: Apps) -> None:
    old, new = apps(), apps()
    orders(old)
    flow = await old.start(["ship"], {"order": {}})
    orders(new, tax=5)
    await new.register_declared()
    plan = (await flow.state())["plan"]
    assert plan["steps"]["price"]["work_config"]["max_attempts"] == 2


async def test_strict_refuses_a_changed_step_and_changes_nothing(apps: Apps) -> None:
    old, new = apps(), apps(register="strict")
    orders(old)
    await old.register_declared()
    before = await version(old)
    orders(new, tax=5)

    @new.step(outputs="z")
    def more() -> int:
        return 1

    for use in (new.start(["ship"], {"order": {}}), new.run()):
        with pytest.raises(StepConflict, match="price"):
            await use
    assert await version(old) == before


# ---------------------------------------------------------------------- versions


async def test_a_later_version_overwrites_an_earlier_one(apps: Apps) -> None:
    old, new = apps(version=1), apps(version=2)
    orders(old)
    await old.register_declared()
    orders(new, tax=5)
    await new.register_declared()
    assert await max_attempts(new) == 6


@pytest.mark.parametrize("register", ["update", "strict", "sync"])
async def test_an_earlier_version_leaves_the_steps_of_a_later_one(apps: Apps, register: str) -> None:
    new, old = apps(version=2), apps(version=1, register=register)
    orders(new, tax=5)

    def audit(total: int) -> int:
        return total

    new.step(in_module("orders", audit), outputs="audited")
    await new.register_declared()
    before = await version(new)
    orders(old)
    await old.register_declared()
    assert (await max_attempts(old), await version(old)) == (6, before)


async def test_an_app_without_a_version_overwrites_any(apps: Apps) -> None:
    new, other = apps(version=2), apps()
    orders(new, tax=5)
    await new.register_declared()
    orders(other)
    await other.register_declared()
    assert await max_attempts(other) == 2


async def test_a_new_version_alone_changes_no_step(apps: Apps) -> None:
    old, new = apps(version=1), apps(version=2, register="strict")
    orders(old)
    await old.register_declared()
    before = await version(old)
    orders(new)
    await new.register_declared()
    assert await version(new) == before


# ----------------------------------------------------------------- no longer declared


def half(app: Argyll) -> None:
    """The app of `orders` without `ship`."""

    def price(order: dict[str, Any]) -> int:
        return 1

    app.step(in_module("orders", price), outputs="total", retry=Retry(max_attempts=2))


async def test_steps_that_are_no_longer_declared_are_warned_about(
    apps: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = apps(), apps()
    orders(before)
    await before.register_declared()
    half(after)
    await after.register_declared()
    assert "steps that this app once registered and no longer declares: ship" in caplog.messages
    assert await ids(after) == ["price", "ship"]


async def test_sync_removes_them(apps: Apps, caplog: pytest.LogCaptureFixture) -> None:
    before, after = apps(), apps(register="sync")
    orders(before)
    await before.register_declared()
    half(after)
    with caplog.at_level(logging.INFO, "argyll_redis"):
        await after.register_declared()
    assert await ids(after) == ["price"]
    assert "step ship was removed" in caplog.messages


async def test_apps_of_one_namespace_leave_each_others_steps_alone(
    apps: Apps, caplog: pytest.LogCaptureFixture
) -> None:
    app, other = apps(register="sync"), apps(register="sync")
    orders(app)

    def bill(total: int) -> int:
        return total

    other.step(in_module("billing", bill), outputs="billed")
    await app.register_steps([{"id": "by-hand", "type": "python", "python": {"handler": "x"}}])
    for _ in range(2):
        await app.register_declared()
        await other.register_declared()
    assert await ids(app) == ["bill", "by-hand", "price", "ship"]
    assert [m for m in caplog.messages if "no longer declares" in m] == []


async def test_a_step_that_moved_to_another_module_is_not_removed_by_its_old_home(apps: Apps) -> None:
    before, after, strict = apps(), apps(), apps(register="strict")
    orders(before)
    await before.register_declared()
    orders(strict, module="shop.orders")
    await strict.register_declared()
    assert await version(strict) == 2
    orders(after, module="shop.orders")
    await after.register_declared()
    assert await version(after) == 4
    half(old_home := apps(register="sync"))
    await old_home.register_declared()
    assert await ids(after) == ["price", "ship"]


SCRIPT = """
from argyll_redis import Argyll
app = Argyll("memory://")
@app.step(outputs="x")
def one(): return 1
async def main():
    async with app:
        await app.register_declared()
        print((await app.get_step("one"))["labels"]["argyll.app"])
if __name__ == "__main__":
    import asyncio
    asyncio.run(main())
"""


@pytest.mark.parametrize("arguments", [["billing.py"], ["-m", "billing"]])
def test_a_script_is_known_by_what_others_import_it_as(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "billing.py").write_text(SCRIPT)
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": f"{root}:{tmp_path}"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (ran.stdout, ran.stderr) == ("billing\n", "")


# ------------------------------------------------------------------------ refusals


def test_two_functions_cannot_have_one_id() -> None:
    app = Argyll("memory://")
    app.step(in_module("orders", lambda: 1), id="one", outputs="x")
    with pytest.raises(InvalidStep, match=r'step "one": id: orders\..* and billing\..* are both declared'):
        app.step(in_module("billing", lambda: 2), id="one", outputs="y")
    assert app.declared["one"].outputs == ("x",)


def test_the_same_function_declared_again_replaces_itself() -> None:
    app = Argyll("memory://")
    orders(app)
    orders(app, tax=5)
    assert app.declared["price"].definition["work_config"] == {"max_attempts": 6}


async def test_a_function_declared_anew_is_registered_anew(apps: Apps) -> None:
    app = apps()
    orders(app)
    await app.register_declared()
    orders(app, tax=5)
    await app.register_declared()
    assert await max_attempts(app) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"register": "always"}, "register: is 'always' .use one of update, strict, sync"),
        ({"version": "1.2"}, "version: is '1.2'"),
        ({"version": -1}, "version: is -1"),
        ({"version": True}, "version: is True"),
    ],
)
def test_an_app_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Argyll("memory://", **options)


async def test_steps_that_do_not_go_together_are_refused_as_a_set(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x")
    def one() -> int:
        return 1

    @app.step(outputs="y")
    def two(x: str) -> str:
        return x

    with pytest.raises(InvalidCatalog, match="attribute type conflict: `x`"):
        await app.start([two])
    assert await ids(app) == []


async def test_a_predicate_that_does_not_compile_is_refused(apps: Apps) -> None:
    app = apps()

    @app.step(outputs="x", predicate="return (")
    def one() -> int:
        return 1

    with pytest.raises(InvalidStep, match=r"predicate.*line 1"):
        await app.start([one])


async def test_definitions_are_registered_shown_and_removed_by_hand(apps: Apps) -> None:
    app = apps()
    definition = {"id": "By-Hand", "type": "python", "python": {"handler": "x", "queue": "q"}}
    [shown] = await app.register_steps([definition])
    assert (shown["id"], shown["python"]["queue"]) == ("by-hand", "q")
    assert await app.get_step("by-hand") == shown == (await app.steps())[0]
    changed = {**definition, "name": "other"}
    with pytest.raises(StepConflict):
        await app.register_steps([changed])
    assert (await app.register_steps([changed], update=True))[0]["name"] == "other"
    assert [row["queue"] for row in (await app.queue_stats())["queues"]] == ["control", "builtin", "q"]
    with pytest.raises(UnknownStep, match="did you mean `by-hand`"):
        await app.get_step("by-hnd")
    await app.unregister_step("by-hand")
    with pytest.raises(UnknownStep):
        await app.unregister_step("by-hand")


@pytest.mark.contract("steps", "Processes that register at the same time both succeed.")
async def test_two_processes_that_register_at_once_both_succeed(apps: Apps) -> None:
    several = [apps() for _ in range(4)]
    for number, app in enumerate(several):
        app.step(in_module(f"m{number}", lambda: 1), id=f"s{number}", outputs=f"x{number}")
    await asyncio.gather(*(app.register_declared() for app in several))
    assert await ids(several[0]) == ["s0", "s1", "s2", "s3"]


async def test_a_registration_whose_reply_is_lost_is_answered_as_one_that_was_not(
    apps: Apps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps are there, so that is what is said, and they are shown."""
    app = apps()
    store: Any = (await app.node()).store
    append = store.append_catalog

    async def append_unheard(*arguments: Any) -> None:
        await append(*arguments)
        raise StoreUnavailable("the reply was lost")

    monkeypatch.setattr(store, "append_catalog", append_unheard)
    [shown] = await app.register_steps([{"id": "a", "type": "python", "python": {"handler": "x"}}])
    assert (shown["id"], await version(app)) == ("a", 1)
