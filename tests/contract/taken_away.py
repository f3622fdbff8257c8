"""Behaviours that can be taken away, one at a time, and the test that has to notice.

`python tests/contract/taken_away.py [WORDS...]` does so: each time a copy of the tree is changed in one
place and the test is run there. It ends with 1 when a test passes all the same. The table of the
reference has this list, and a test holds that every place is still there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
LEFT_OUT = (".git", ".venv", "__pycache__", ".pytest_cache", ".ruff_cache", "*.pyc")
LIMIT_S = 180
"""How long one test may take on a busy machine, its engines' start included."""


@dataclass(frozen=True)
class Taken:
    """One behaviour: where it is, what is put in its place, and the test that notices."""

    behaviour: str
    file: str
    """Within the package."""
    old: str
    new: str
    test: str
    """`file::function` within this folder."""


TAKEN: tuple[Taken, ...] = (
    Taken(
        "an equal definition of a step appends nothing",
        "core/catalog.py",
        "        elif known.definition != registered.definition:",
        "        else:",
        "test_outside_steps.py::test_a_step_is_registered_updated_and_removed",
    ),
    Taken(
        "an update replaces the step's edges",
        "core/catalog.py",
        "            _unlink(steps.pop(id).step, providers, users)\n        if not",
        "            steps.pop(id)\n        if not",
        "test_others_get_wrong.py::test_an_updated_step_that_no_longer_provides_an_attribute",
    ),
    Taken(
        "a script is compiled when its step is registered",
        "core/catalog.py",
        "step = parse_step(definition, compile_script)",
        "step = parse_step(definition, None)",
        "test_outside_steps.py::test_a_script_that_does_not_compile_is_refused_with_its_place",
    ),
    Taken(
        "a goal whose outputs are all given is left out of the plan",
        "core/plan.py",
        "return bool(outputs) and all(output.name in self.initial for output in outputs)",
        "return False",
        "test_outside_steps.py::test_a_goal_that_is_given_is_done_from_the_start",
    ),
    Taken(
        "after the outcome no retry is scheduled",
        "core/decide.py",
        "    if not turn.matters(item.step):\n        _fail(turn, item, rules.ABANDONED",
        "    if attempt < 0:\n        _fail(turn, item, rules.ABANDONED",
        "test_outside_life.py::test_after_the_outcome_nothing_new_starts",
    ),
    Taken(
        "a flow is not deactivated while work is active",
        "core/rules.py",
        "or draft.is_deactivated or draft.active or draft.waiting",
        "or draft.is_deactivated or draft.waiting",
        "test_others_get_wrong.py::test_an_optional_provider_finishing_after_the_goal",
    ),
    Taken(
        "a goal that its predicate skipped is done",
        "core/rules.py",
        "    elif any(run.status in (StepStatus.PENDING, StepStatus.ACTIVE) for run in runs):",
        "    elif any(run.status is not StepStatus.COMPLETED for run in runs):",
        "test_others_get_wrong.py::test_a_skipped_provider_or_goal",
    ),
    Taken(
        "`all` orders its values by provider",
        "core/inputs.py",
        '(values[place].step is not None, values[place].step or "", place)',
        "place",
        "test_outside_life.py::test_a_policy_gives_its_values",
    ),
    Taken(
        "an optional input is waited for until its deadline",
        "core/inputs.py",
        "    if not attribute.deadline_ms or passed_version(view, step, attribute):",
        "    if True:",
        "test_outside_life.py::test_an_optional_input_is_waited_for_until_its_deadline",
    ),
    Taken(
        "no more items run than the parallelism allows",
        "core/rules_start.py",
        "    while (run := turn.draft.step(id)).active < step.work.parallelism:",
        "    while (run := turn.draft.step(id)).active < step.work.parallelism + 1:",
        "test_outside_items.py::test_no_more_items_run_than_the_parallelism_allows",
    ),
    Taken(
        "of several lists the first name is the slowest",
        "core/collect.py",
        "for attribute in reversed(present_for_each(step, inputs)):",
        "for attribute in present_for_each(step, inputs):",
        "test_outside_items.py::test_several_lists_make_every_combination",
    ),
    Taken(
        "a predicate is asked for each item",
        "core/rules_start.py",
        "    return None if holds else WorkSkipped(run.id, token)",
        "    return None",
        "test_others_get_wrong.py::test_a_predicate_false_for_one_item",
    ),
    Taken(
        "429 is tried again",
        "steps/http_answer.py",
        "    if answer.status == HTTPStatus.TOO_MANY_REQUESTS or answer.status >= 500:",
        "    if answer.status >= 500:",
        "test_outside_items.py::test_what_may_pass_is_tried_again",
    ),
    Taken(
        "`Retry-After` replaces the computed delay",
        "core/retry.py",
        "    if asked_ms is not None:",
        "    if asked_ms is not None and attempt < 0:",
        "test_outside_items.py::test_retry_after_replaces_the_delay",
    ),
    Taken(
        "with one attempt allowed a lost one is not called again",
        "core/decide.py",
        "    elif work.max_attempts and item.attempt >= work.max_attempts:",
        "    elif work.max_attempts < 0:",
        "test_killed_engine.py::test_with_one_attempt_a_lost_one_fails_with_outcome_unknown",
    ),
    Taken(
        "a lost undo is called again",
        "core/rules_undo.py",
        "    if undo.losses + 1 >= MAX_LOSSES:",
        "    if undo.losses + 1 >= 1:",
        "test_killed_engine.py::test_a_lost_undo_is_called_again",
    ),
    Taken(
        "what does not count is on record once",
        "core/decide.py",
        "and mark not in item.ignored:",
        "and mark is not None:",
        "test_outside_tokens.py::test_duplicates_are_on_record_once",
    ),
    Taken(
        "not completed counts from the current attempt only",
        "core/decide.py",
        "    if command.attempt is not None and command.attempt != item.attempt:",
        "    if command.attempt is not None and command.attempt > item.attempt:",
        "test_outside_tokens.py::test_only_a_success_counts_from_an_earlier_attempt",
    ),
    Taken(
        "lists leave children out",
        "core/outbox.py",
        "Status(FlowStatus.ACTIVE, labels=event.labels, is_child=is_child(draft.id))",
        "Status(FlowStatus.ACTIVE, labels=event.labels, is_child=False)",
        "test_outside_families.py::test_a_child_belongs_to_its_parent",
    ),
    Taken(
        "what is called is part of what a reuse compares",
        "runtime/memo.py",
        '"name", "labels", "work_config", "memoizable"})',
        '"name", "labels", "work_config", "memoizable", "http"})',
        "test_outside_families.py::test_a_success_is_reused_by_every_engine",
    ),
    Taken(
        "a flow is undone from its last step to its first",
        "core/rules_undo.py",
        "    runs = [draft.step(id) for id in sorted(draft.undos, key=draft.plan.rank.__getitem__)]",
        "    runs = [draft.step(id) for id in sorted(draft.undos, key=lambda id: -draft.plan.rank[id])]",
        "test_outside_families.py::test_a_flow_is_undone_from_the_last_step_to_the_first",
    ),
    Taken(
        "a stream goes on where the client left off",
        "http/stream.py",
        "    after = max(after, last_event(call.request))\n",
        "    last_event(call.request)\n",
        "test_outside_http.py::test_a_stream_goes_on_on_another_process",
    ),
    Taken(
        "unknown flow, step and token are answered with 400",
        "http/webhook.py",
        "raise Refused(HTTPStatus.BAD_REQUEST, UNKNOWN) from None",
        "raise Refused(HTTPStatus.NOT_FOUND, UNKNOWN) from None",
        "test_outside_tokens.py::test_what_is_unknown_is_answered_alike",
    ),
)


def changed(taken: Taken, tree: Path) -> str:
    """The text of the file without the behaviour. Raises `ValueError` when it is not there once."""
    text = (tree / "argyll_redis" / taken.file).read_text()
    if text.count(taken.old) != 1:
        raise ValueError(f"{taken.file} has {text.count(taken.old)} times what makes that {taken.behaviour}")
    return text.replace(taken.old, taken.new)


def notices(taken: Taken, tree: Path) -> bool:
    """Whether the test fails without the behaviour, in a tree that may be changed."""
    place = tree / "argyll_redis" / taken.file
    before = place.read_text()
    place.write_text(changed(taken, tree))
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", f"tests/contract/{taken.test}"]
    try:
        run = subprocess.run(
            command,
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    finally:
        place.write_text(before)
    told = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
    print("\n".join(f"    {line}" for line in told))
    # 1 is a test that failed; an import that fails, or nothing that was run, is something else.
    return run.returncode == 1


def main() -> int:
    wanted = sys.argv[1:] or [""]
    chosen = [taken for taken in TAKEN if any(words in taken.behaviour for words in wanted)]
    passed = 0
    with tempfile.TemporaryDirectory(prefix="argyll-") as directory:
        tree = Path(directory) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for taken in chosen:
            is_noticed = notices(taken, tree)
            passed += not is_noticed
            print("noticed" if is_noticed else "NOT NOTICED", taken.behaviour, "by", taken.test, flush=True)
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
