"""The table of the contract holds together: every subject is shown from outside, and what can be taken
away from the tree is still there to be taken."""

from __future__ import annotations

import pytest
from taken_away import ROOT, TAKEN, Taken, changed

from tests.docs.test_docs import generator

LEAST_TAKEN = 15
GENERATOR = generator()
ROWS = GENERATOR.marked_rows()


@pytest.mark.parametrize("subject", GENERATOR.SUBJECTS)
def test_every_subject_has_rows_that_are_shown_from_outside(subject: str) -> None:
    rows = [row for row in ROWS if row[0] == subject]
    assert {row[2].parts[0] == "contract" for row in rows} >= {True}


def test_no_row_is_written_twice() -> None:
    words = [row[1] for row in ROWS]
    assert sorted(set(words)) == sorted(words)


@pytest.mark.parametrize("taken", TAKEN, ids=lambda taken: taken.behaviour)
def test_what_can_be_taken_away_is_there_and_so_is_its_test(taken: Taken) -> None:
    file, _, function = taken.test.partition("::")
    assert f"def {function}(" in (ROOT / "tests" / "contract" / file).read_text()
    assert changed(taken, ROOT)


def test_enough_is_taken_away() -> None:
    assert len({taken.behaviour for taken in TAKEN}) >= LEAST_TAKEN
