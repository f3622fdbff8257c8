"""What a user lacks is found before anything is written, and nothing is written to find it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from servers import TestServer

from argyll_redis.errors import StoreUnfit
from argyll_redis.store.answers import exception_for
from argyll_redis.store.permissions import LOOKED, TRIED
from argyll_redis.store.redis import RedisStore

pytestmark = pytest.mark.anyio

SECRET = "PASSWORD"
RIGHTS = sorted({call[0].lower() for call in TRIED} | {"eval", "evalsha"})


class User:
    """A user of the test's own, who may do what is needed on the keys of the namespace."""

    def __init__(self, server: TestServer) -> None:
        self.server = server
        self.name = f"u-{server.namespace}"
        keys = [f"~{{{server.namespace}}}:*", f"~{{{server.namespace}:*"]
        self.change(
            "on", f">{SECRET}", "resetkeys", *keys, "resetchannels", "-@all", *(f"+{x}" for x in RIGHTS)
        )

    def change(self, *words: str) -> None:
        self.server.client.execute_command("ACL", "SETUSER", self.name, *words)

    def store(self) -> RedisStore:
        url = self.server.url.replace("unix://", f"unix://{self.name}:{SECRET}@")
        return RedisStore(url, self.server.namespace, partitions=2)


@pytest.fixture
def user(real_server: TestServer) -> Iterator[User]:
    made = User(real_server)
    yield made
    real_server.client.acl_deluser(made.name)


async def lacking(user: User, *, to_look: bool = False) -> tuple[str, ...]:
    store = user.store()
    try:
        return await store.missing_rights(to_look=to_look)
    finally:
        await store.close()


async def test_who_has_all_rights_lacks_none(user: User) -> None:
    assert await lacking(user) == ()


@pytest.mark.parametrize("right", RIGHTS)
async def test_each_right_that_lacks_is_named_and_nothing_is_written(right: str, user: User) -> None:
    user.change(f"-{right}")
    assert await lacking(user) == (f"+{right}",)
    assert user.server.all_keys() == []


async def test_what_only_those_who_look_need_is_named_when_it_is_asked_for(user: User) -> None:
    """`INFO` is among it: without it nobody can say whether the server is fit, and all works."""
    assert await lacking(user, to_look=True) == tuple(f"+{call[0].lower()}" for call in LOOKED)


@pytest.mark.parametrize("pattern", ["~{{{}}}:*", "~{{{}:*"])
async def test_half_of_the_keys_is_not_enough(pattern: str, user: User) -> None:
    user.change("resetkeys", pattern.format(user.server.namespace))
    assert await lacking(user) == ("keys",)


async def test_a_store_is_not_opened_by_who_could_write_half_a_commit(user: User) -> None:
    user.change("-zadd", "-xdel")
    store = user.store()
    with pytest.raises(StoreUnfit, match=r"lacks rights .ACL SETUSER NAME \+xdel \+zadd."):
        await store.open()
    await store.close()
    assert user.server.all_keys() == []


async def test_nothing_is_told_of_a_server_that_lets_such_a_script_write(server: TestServer) -> None:
    """fakeredis does; nothing is written there either."""
    store = RedisStore("", server.namespace, connector=server.connector)
    assert await store.missing_rights() == ()
    await store.close()
    assert server.all_keys() == []


async def test_a_script_that_is_refused_a_command_is_no_bug_of_ours(user: User) -> None:
    """A right that is taken away later; the text differs between versions."""
    user.change("-xadd")
    url = user.server.url.replace("unix://", f"unix://{user.name}:{SECRET}@")
    key = user.server.keys.of(0, "none")
    with redis.Redis.from_url(url, protocol=2) as client, pytest.raises(redis.ResponseError) as refused:
        client.eval("return redis.call('XADD', KEYS[1], '*', 'f', 'v')", 1, key)
    assert type(exception_for(refused.value)) is StoreUnfit
