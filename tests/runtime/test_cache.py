"""The cache of flows: bounded in number and in bytes, closed flows first to go."""

from argyll_redis.core.state import Flow
from argyll_redis.runtime.cache import FlowCache


def flow(id: str, *, is_closed: bool = False) -> Flow:
    made = Flow(id)
    made.version = 1
    made.deactivated_version = 1 if is_closed else 0
    return made


def held(cache: FlowCache, *ids: str) -> list[str]:
    return [id for id in ids if cache.get(id) is not None]


def test_the_longest_unused_flow_goes_when_there_are_too_many() -> None:
    cache = FlowCache(limit=2)
    cache.put(flow("a"))
    cache.put(flow("b"))
    assert cache.get("a") is not None
    cache.put(flow("c"))
    assert held(cache, "a", "b", "c") == ["a", "c"]


def test_a_closed_flow_goes_before_all_others() -> None:
    cache = FlowCache(limit=2)
    cache.put(flow("open"))
    cache.put(flow("closed", is_closed=True))
    cache.put(flow("new"))
    assert held(cache, "open", "closed", "new") == ["open", "new"]


def test_flows_go_when_their_logs_are_too_large() -> None:
    """Large values are bounded by bytes, long before their number is a bound."""
    cache = FlowCache(limit=1_000, limit_bytes=100)
    for number in range(10):
        cache.put(flow(f"f{number}"), 40)
    assert held(cache, *(f"f{number}" for number in range(10))) == ["f8", "f9"]


def test_a_flow_weighs_what_was_added_over_time() -> None:
    cache = FlowCache(limit_bytes=100)
    first = flow("a")
    cache.put(first, 60)
    cache.put(flow("b"), 30)
    cache.put(first, 20)
    assert held(cache, "a", "b") == ["a"]


def test_the_flow_just_put_stays_however_large() -> None:
    cache = FlowCache(limit_bytes=10)
    cache.put(flow("large"), 1_000)
    assert held(cache, "large") == ["large"]


def test_a_dropped_flow_weighs_nothing_any_more() -> None:
    cache = FlowCache(limit_bytes=100)
    cache.put(flow("a"), 90)
    cache.drop("a")
    cache.put(flow("b"), 50)
    cache.put(flow("c"), 50)
    assert held(cache, "b", "c") == ["b", "c"]
