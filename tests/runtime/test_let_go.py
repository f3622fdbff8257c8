"""Entries that were let go of, and renewals that still know of them."""

from __future__ import annotations

from argyll_redis.runtime.clock import ServerClock
from argyll_redis.runtime.let_go import LetGo
from argyll_redis.runtime.work import Hand, InHand
from argyll_redis.store.protocol import Entry, RenewReply

ENTRY = Entry(0, "work:default", "1-0", "f t 1 3")
PENDING = RenewReply(lost=(), statuses={}, unnamed=(ENTRY,))


class Scene:
    """A hand that is empty, and a clock."""

    def __init__(self) -> None:
        self.now_ms = 1_000
        self.let_go = LetGo(Hand(), ServerClock(lambda: self.now_ms))

    def renewal(self, *, asked_ms: int) -> list[Entry]:
        """What a renewal finds that was delivered and is not known of."""
        return self.let_go.found(PENDING, asked_ms)[0]


def test_an_entry_that_two_renewals_in_a_row_do_not_know_is_found() -> None:
    scene = Scene()
    assert [scene.renewal(asked_ms=900), scene.renewal(asked_ms=950)] == [[], [ENTRY]]


def test_an_entry_that_was_handed_back_is_not_found_by_a_renewal_that_was_asked_for_before() -> None:
    """It is another engine's by then, which runs it under the same attempt: found here, it runs twice."""
    scene = Scene()
    found = [scene.renewal(asked_ms=900)]
    scene.let_go.add(InHand(ENTRY, "f"))
    found.append(scene.renewal(asked_ms=950))
    assert found == [[], []]


def test_an_entry_that_is_pending_long_after_it_was_handed_back_is_found() -> None:
    """The reply said that it was, or there was none, and it is pending all the same."""
    scene = Scene()
    scene.let_go.add(InHand(ENTRY, "f"))
    assert [scene.renewal(asked_ms=1_100), scene.renewal(asked_ms=1_200)] == [[], [ENTRY]]
