"""Flows by the command line, in memory: every command, its JSON, its text, its exit status."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_words import DOUBLE, STEPS, Cli

from argyll_redis.app import Argyll
from argyll_redis.audit import Found, Report


@pytest.fixture(scope="module")
def shop() -> Cli:
    """A namespace with our steps, a completed flow `good`, a failed one `bad` and one that waits, `idle`."""
    cli = Cli()
    cli.register()
    with cli.engine():
        for goal, id in (("triple", "good"), ("broken", "bad")):
            cli("flow", "start", goal, "--init", "a=5", "--id", id, "--label", f"for={id}", "--wait")
    assert cli("flow", "start", "double", "--init", "a=1", "--id", "idle").status == 0
    return cli


# ----------------------------------------------------------------------- start


def test_start_prints_the_id_of_the_flow(cli: Cli) -> None:
    cli.register()
    answer = cli("flow", "start", "double", "--init", "a=3", "--id", "Order 17")
    assert (answer.status, answer.out, answer.err) == (0, "order-17\n", "")


def test_start_as_json_answers_what_the_route_answers(cli: Cli) -> None:
    cli.register()
    answer = cli("flow", "start", "double", "--init", "a=3", "--id", "f", "--json")
    assert (answer.status, answer.json) == (0, {"message": "flow f is started", "flow_id": "f"})


def test_the_same_start_again_is_a_success_and_another_one_a_conflict(cli: Cli) -> None:
    cli.register()
    start = ("flow", "start", "double", "--id", "f")
    first, again = cli(*start, "--init", "a=3"), cli(*start, "--init", "a=3")
    other = cli(*start, "--init", "a=4")
    assert (first.status, again.status, other.status) == (0, 0, 2)
    assert 'flow "f" exists' in other.err


def test_a_start_keeps_labels_metadata_and_all_values(cli: Cli) -> None:
    cli.register()
    cli(
        *("flow", "start", "double", "--id", "f", "--init", "a=3", "--init", "a=4"),
        *("--label", "tenant=7", "--metadata", "size=7", "--metadata", "by=me"),
    )
    state = cli("flow", "show", "f", "--json").json
    values = [each["value"] for each in state["attributes"]["a"]]
    assert (values, state["labels"], state["metadata"]) == (
        [3, 4],
        {"tenant": "7"},
        {"by": "me", "size": 7},
    )


def test_a_start_may_ask_for_everything_to_be_undone_when_it_fails(cli: Cli) -> None:
    cli.register()
    cli("flow", "start", "double", "--id", "f", "--init", "a=3", "--compensate", "flow")
    started = cli("flow", "events", "f", "--json").json["events"][0]
    assert started["data"]["options"]["compensate"] == "flow"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["dubble", "--init", "a=3"], 4, "did you mean `double`?"),
        (["dubble"], 4, " (--namespace or ARGYLL_NAMESPACE says which)\n"),
        (["double", "--init", "aa=3"], 2, "nothing uses `aa`, did you mean `a`?"),
        (["double", "--init", "a=3", "--compensate", "step"], 2, "'step' is not 'flow'"),
        (["double"], 2, "the goals need initial values for: a"),
        (["double", "--init", "a=x"], 2, "init.a: is of type string (use a value of type number)"),
        (["double", "--init", "a=3", "--id", "***"], 2, "id: has no character"),
        (["double", "--init", "a=3", "--timeout-ms", "-1"], 2, "timeout_ms: is -1"),
        (["double", "--init-file", "/missing.json"], 2, "/missing.json: cannot be read"),
        ([], 2, "missing argument 'GOAL...'"),
    ],
)
def test_a_start_that_cannot_be_is_refused_in_one_line(
    arguments: list[str], status: int, words: str, cli: Cli
) -> None:
    cli.register()
    answer = cli("flow", "start", *arguments)
    assert (answer.status, answer.out, answer.err.count("\n")) == (status, "", 1)
    assert answer.err.startswith("error: ")
    assert words in answer.err


# ------------------------------------------------------------------------ wait


def test_start_and_wait_ends_with_the_result(cli: Cli) -> None:
    cli.register()
    with cli.engine():
        answer = cli("flow", "start", "triple", "--init", "a=5", "--id", "f", "--wait", "--json")
    expected = {"id": "f", "status": "completed", "result": {"c": 30}, "error": None}
    assert (answer.status, answer.json) == (0, expected)


def test_wait_tells_people_the_result(shop: Cli) -> None:
    answer = shop("flow", "wait", "good")
    assert (answer.status, answer.out) == (0, "flow good completed\n\nRESULT  VALUE\nc          30\n")


def test_wait_for_a_failed_flow_is_bad_news(shop: Cli) -> None:
    answer = shop("flow", "wait", "bad")
    assert (answer.status, answer.out) == (1, "")
    assert answer.err.startswith("error: flow bad failed: ")
    assert "boom" in answer.err


def test_wait_for_a_failed_flow_as_json_has_the_error_in_its_answer(shop: Cli) -> None:
    answer = shop("flow", "wait", "bad", "--json")
    found = answer.json
    error = found.pop("error")
    assert (answer.status, found) == (1, {"id": "bad", "status": "failed", "result": None})
    assert "boom" in error


def test_wait_gives_up_in_time_and_says_how_the_flow_stands(cli: Cli) -> None:
    cli.register()
    cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    answer = cli("flow", "wait", "f", "--timeout-ms", "50")
    assert (answer.status, answer.out, answer.err) == (
        5,
        "",
        "error: gave up waiting after 50 ms: flow f is active; "
        "no engine is alive, so nothing runs until one is started\n",
    )


def test_wait_without_time_still_looks_once(shop: Cli) -> None:
    found = [shop("flow", "wait", id, "--timeout-ms", "0").status for id in ("good", "bad", "idle")]
    assert found == [0, 1, 5]


def test_wait_that_gave_up_still_prints_its_document(shop: Cli) -> None:
    answer = shop("flow", "wait", "idle", "--timeout-ms", "50", "--json")
    expected = {"id": "idle", "status": "active", "result": None, "error": None}
    assert (answer.status, answer.json) == (5, expected)


def test_start_and_wait_gives_up_when_nobody_ends_the_flow_at_its_timeout(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("argyll_redis.cli.flow.PAST_TIMEOUT_MS", 50)
    cli.register()
    answer = cli("flow", "start", "double", "--init", "a=3", "--timeout-ms", "50", "--wait")
    assert (answer.status, answer.out) == (5, "")


# ---------------------------------------------------------------- list and show


def test_list_shows_the_newest_flows_first(shop: Cli) -> None:
    flows = shop("flow", "list", "--json").json["flows"]
    assert [(each["id"], each["status"], each["labels"]) for each in flows] == [
        ("idle", "active", {}),
        ("bad", "failed", {"for": "bad"}),
        ("good", "completed", {"for": "good"}),
    ]


def test_list_is_a_table_for_people(shop: Cli) -> None:
    lines = shop("flow", "list").out.splitlines()
    assert lines[0].split() == ["FLOW", "STATUS", "STARTED", "LABELS", "ERROR"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["idle", "active"],
        ["bad", "failed"],
        ["good", "completed"],
    ]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["--prefix", "b"], ["bad"]),
        (["--label", "for=good"], ["good"]),
        (["--status", "failed", "--status", "active"], ["idle", "bad"]),
        (["--sort", "recent_asc"], ["good", "bad", "idle"]),
        (["--limit", "1"], ["idle"]),
        (["--label", "for=good", "--status", "failed"], []),
    ],
)
def test_list_finds_what_is_asked_for(options: list[str], ids: list[str], shop: Cli) -> None:
    found = shop("flow", "list", *options, "--json").json
    assert [each["id"] for each in found["flows"]] == ids


def test_list_goes_on_from_the_cursor_that_it_gave(shop: Cli) -> None:
    first = shop("flow", "list", "--limit", "2").out.splitlines()
    assert [line.split()[0] for line in first[1:3]] == ["idle", "bad"]
    words, _, cursor = first[-1].rpartition(" ")
    assert words == "2 of 3 flows; the next: --cursor"
    second = shop("flow", "list", "--limit", "2", "--cursor", cursor).out.splitlines()
    assert [line.split()[0] for line in second] == ["FLOW", "good"]


def test_list_names_every_option_that_is_wrong(shop: Cli) -> None:
    wrong = ("--status", "activ", "--limit", "-1", "--sort", "up", "--cursor", "x")
    answer = shop("flow", "list", *wrong)
    assert (answer.status, answer.out) == (2, "")
    assert [line.split()[1] for line in answer.err.splitlines()] == [
        "--status:",
        "--sort:",
        "--limit:",
        "--cursor:",
    ]


def test_lists_of_an_empty_namespace_say_so_or_are_empty(cli: Cli) -> None:
    assert cli("flow", "list").out == "no flows\n"
    nothing = {"flows": [], "count": 0, "total": 0, "has_more": False, "next_cursor": None}
    assert cli("flow", "list", "--json").json == nothing
    assert cli("step", "list", "--json").json == {"steps": [], "count": 0}


def test_show_as_json_is_the_state_of_the_flow(shop: Cli) -> None:
    state = shop("flow", "show", "good", "--json").json
    found = {id: run["status"] for id, run in state["executions"].items()}
    assert (state["status"], found) == ("completed", {"double": "completed", "triple": "completed"})
    assert state["attributes"]["c"][0]["value"] == 30


def test_show_at_a_version_is_the_state_as_it_was(shop: Cli) -> None:
    state = shop("flow", "show", "good", "--at", "1", "--json").json
    assert (state["status"], set(state["attributes"])) == ("active", {"a"})


def test_show_tells_people_steps_and_attributes(shop: Cli) -> None:
    out = shop("flow", "show", "bad").out
    words = [line.split() for line in out.splitlines()]
    assert ["status", "failed"] in words
    assert ["broken", "script", "failed"] in [line[:3] for line in words]
    assert ["a", "initial", "5"] in words


def test_no_token_and_no_seed_is_in_the_text(shop: Cli) -> None:
    """Whoever may read a token may complete its work: only who asks for JSON gets them."""
    state = shop("flow", "show", "good", "--json").json
    tokens = [token for run in state["executions"].values() for token in run["work_items"]]
    text = shop("flow", "show", "good").out + shop("flow", "events", "good").out
    assert (len(tokens), [token for token in tokens if token in text], "seed" in text) == (2, [], False)


# ---------------------------------------------------------------------- events


def test_events_as_json_are_one_document(shop: Cli) -> None:
    document = shop("flow", "events", "good", "--json").json
    types = [event["type"] for event in document["events"]]
    assert (document["count"], types[0], types[-1]) == (len(types), "flow_started", "flow_deactivated")
    assert set(document["events"][0]) == {"id", "type", "at", "cause", "by", "data"}


def test_events_after_a_version_leave_out_what_came_before(shop: Cli) -> None:
    every = shop("flow", "events", "good", "--json").json["events"]
    later = shop("flow", "events", "good", "--after", "3", "--json").json["events"]
    assert later == every[3:]


def test_events_followed_as_json_are_one_object_a_line_until_deactivation(cli: Cli) -> None:
    cli.register()
    cli("flow", "start", "double", "--init", "a=3", "--id", "f")
    with cli.engine():
        followed = cli("flow", "events", "f", "--follow", "--json").lines
    assert followed == cli("flow", "events", "f", "--json").json["events"]
    assert followed[-1]["type"] == "flow_deactivated"


def test_events_for_people_are_one_line_each(shop: Cli) -> None:
    lines = shop("flow", "events", "good").out.splitlines()
    events = shop("flow", "events", "good", "--json").json["events"]
    shown = [(line.split()[0], line.split()[3]) for line in lines]
    assert shown == [(event["id"].removesuffix("-0"), event["type"]) for event in events]


# ----------------------------------------------------------------- why, cancel


def test_why_answers_what_the_route_answers(shop: Cli) -> None:
    found = shop("flow", "why", "bad", "broken", "--json").json
    assert (found["flow_id"], found["step"], found["status"]) == ("bad", "broken", "failed")
    assert any("boom" in clause["text"] and clause["version"] for clause in found["why"])


def test_why_tells_people_each_clause_after_its_version(shop: Cli) -> None:
    lines = shop("flow", "why", "bad", "broken").out.splitlines()
    assert lines[0] == "step broken of flow bad: failed"
    assert all(line.split()[0].startswith("[") for line in lines[1:])


def test_why_without_a_step_explains_every_goal(cli: Cli) -> None:
    cli.register()
    cli("flow", "start", "triple", "broken", "--init", "a=1", "--id", "f")
    document, told = cli("flow", "why", "f", "--json").json, cli("flow", "why", "f").out
    steps = [cli("flow", "why", "f", goal, "--json").json for goal in ("triple", "broken")]
    assert document["flow_id"] == "f"
    assert [(goal["step"], goal["status"]) for goal in document["goals"]] == [
        ("triple", "pending"),
        ("broken", "active"),
    ]
    assert [goal.keys() for goal in document["goals"]] == [step.keys() for step in steps]
    assert [line for line in told.splitlines() if line.startswith("step ")] == [
        "step triple of flow f: pending",
        "step broken of flow f: active",
    ]


def test_why_of_a_flow_that_does_not_exist_is_not_found(cli: Cli) -> None:
    answer = cli("flow", "why", "f")
    assert (answer.status, answer.err) == (4, 'error: no flow "f" exists\n')


def test_cancel_ends_a_flow_once(cli: Cli) -> None:
    cli.register()
    cli("flow", "start", "double", "--init", "a=3", "--id", "f")
    first, again = cli("flow", "cancel", "f"), cli("flow", "cancel", "f", "--json")
    outcome = cli("flow", "wait", "f", "--json")
    assert (first.status, first.out) == (0, "flow f is cancelled\n")
    assert (again.status, again.json) == (0, {"message": "flow f was over already", "flow_id": "f"})
    assert (outcome.status, outcome.json["error"]) == (1, "cancelled")


@pytest.mark.parametrize(
    "command",
    [
        ["flow", "show", "gone"],
        ["flow", "events", "gone"],
        ["flow", "events", "gone", "--follow"],
        ["flow", "wait", "gone"],
        ["flow", "why", "gone", "double"],
        ["flow", "why", "good", "gone"],
        ["flow", "cancel", "gone"],
        ["audit", "gone"],
        ["step", "show", "gone"],
        ["plan", "gone"],
        ["flow", "show", ""],
        ["flow", "show", "{x}:\n"],
    ],
)
def test_what_is_not_there_is_said_in_one_line_with_status_4(command: list[str], shop: Cli) -> None:
    for options in ([], ["--json"]):
        answer = shop(*command, *options)
        assert (answer.status, answer.out, answer.err.count("\n")) == (4, "", 1), answer
        assert answer.err.startswith("error: ")


# ------------------------------------------------------------------ audit, queue


def test_audit_of_sound_logs_is_good_news(shop: Cli) -> None:
    answer = shop("audit", "--json")
    assert (answer.status, answer.json) == (0, {"flows": 3, "violations": []})
    assert shop("audit", "good").out.splitlines() == [
        "1 flow, 13 events audited: every invariant that was checked holds",
        "",
        "not checked: I-21, I-22, I-23, I-26, I-27, I-30 (no journal); I-25 (not of one flow)",
    ]


def test_audit_that_finds_a_violation_is_bad_news(shop: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    async def audit_report(self: Argyll, *_: Any, **__: Any) -> Report:
        return Report(3, 40, [Found("I-01", "good", 3, "a gap")])

    monkeypatch.setattr(Argyll, "audit_report", audit_report)
    as_json, text = shop("audit", "--json"), shop("audit")
    violation = {"invariant": "I-01", "flow": "good", "version": 3, "message": "a gap"}
    assert (as_json.status, as_json.json) == (1, {"flows": 3, "violations": [violation]})
    assert (text.status, text.out.splitlines()[1].split()) == (1, ["good", "I-01", "3", "a", "gap"])
    assert text.err == "error: 3 flows, 40 events audited: 1 violation found\n"


def test_an_audit_of_what_is_not_there_is_refused_and_creates_nothing(real_cli: Cli) -> None:
    """A name that was mistyped has no violations, and would be there from then on."""
    answers = [real_cli("audit"), real_cli("audit", "f"), real_cli("repair")]
    said = f"error: namespace {real_cli.namespace} does not exist there"
    assert [(each.status, each.out, each.err.startswith(said)) for each in answers] == [(2, "", True)] * 3


def test_audit_reads_journals(shop: Cli, tmp_path: Path) -> None:
    calls, answers = tmp_path / "calls.jsonl", tmp_path / "answers.jsonl"
    calls.write_text('{"flow": "ghost", "step": "double", "token": "t", "attempt": 1}\n')
    answers.write_text('{"do": "start", "flow": "ghost", "answer": "ok"}\n')
    found = shop("audit", "--calls", str(calls), "--answers", str(answers), "--json")
    assert (found.status, {each["invariant"] for each in found.json["violations"]}) == (1, {"I-21", "I-22"})


def test_a_journal_that_cannot_be_read_is_refused(shop: Cli, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text('{"do": "strat", "flow": "good", "answer": "ok"}\n')
    answer = shop("audit", "--answers", str(answers))
    said = f'error: {answers}: line 1: does "strat", which nobody knows (did you mean `start`?)\n'
    assert (answer.status, answer.out, answer.err) == (2, "", said)
    assert shop("audit", "--calls", str(tmp_path / "none")).status == 2


def test_queue_shows_what_waits(shop: Cli) -> None:
    queues = {each["queue"]: each for each in shop("queue", "--json").json["queues"]}
    builtin = queues["builtin"]
    assert set(builtin) == {"queue", "depth", "in_flight", "due", "oldest", "engines"}
    assert (builtin["depth"], builtin["in_flight"]) == (1, 0)
    headers, *rows = shop("queue").out.splitlines()
    assert headers.split() == ["QUEUE", "WAITING", "RUNNING", "DUE", "LATER", "OLDEST", "ENGINES"]
    assert ["builtin", "1", "0"] in [row.split()[:3] for row in rows]


# --------------------------------------------------------------- steps and plan


def test_register_one_step_answers_with_the_step(cli: Cli) -> None:
    answer = cli("step", "register", "-", "--json", stdin=json.dumps(DOUBLE))
    found = answer.json
    assert (answer.status, found["message"], found["step"]["id"]) == (
        0,
        "step double is registered",
        "double",
    )
    assert found["step"]["work_config"]["max_retries"] == 10


def test_register_a_list_answers_with_the_steps(cli: Cli, tmp_path: Any) -> None:
    file = tmp_path / "steps.json"
    file.write_text(json.dumps(STEPS))
    answer = cli("step", "register", str(file), "--json")
    assert (answer.status, answer.json["count"]) == (0, 3)
    assert [step["id"] for step in answer.json["steps"]] == ["double", "triple", "broken"]


def test_an_equal_step_is_a_success_and_another_one_a_conflict(cli: Cli) -> None:
    cli.register(DOUBLE)
    same = cli("step", "register", "-", stdin=json.dumps(DOUBLE))
    other = cli("step", "register", "-", stdin=json.dumps({**DOUBLE, "name": "Double"}))
    assert (same.status, other.status) == (0, 2)
    assert "registered with another definition" in other.err


def test_all_problems_of_a_definition_are_reported_one_a_line(cli: Cli) -> None:
    definition = {"id": "-", "type": "scrip", "labels": {"a": 1}}
    answer = cli("step", "register", "-", stdin=json.dumps(definition))
    lines = answer.err.splitlines()
    assert (answer.status, all(line.startswith("error: ") for line in lines)) == (2, True)
    places = [line.split(": ")[1] for line in lines]
    assert {"id", "type", "labels.a"} <= set(places)


def test_one_wrong_step_of_a_list_registers_none(cli: Cli) -> None:
    answer = cli("step", "register", "-", stdin=json.dumps([DOUBLE, {"id": "x"}]))
    assert (answer.status, cli("step", "list", "--json").json["count"]) == (2, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "standard input: holds no step"),
        ("{", "standard input: line 1"),
        ("5", "is not a step, which is an object"),
    ],
)
def test_a_file_without_steps_is_refused(content: str, words: str, cli: Cli) -> None:
    answer = cli("step", "register", "-", stdin=content)
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert words in answer.err


def test_steps_are_listed_and_shown(shop: Cli) -> None:
    assert [line.split() for line in shop("step", "list").out.splitlines()] == [
        ["STEP", "TYPE", "NEEDS", "PROVIDES", "QUEUE"],
        ["broken", "script", "a", "d", "builtin"],
        ["double", "script", "a", "b", "builtin"],
        ["triple", "script", "b", "c", "builtin"],
    ]
    listed = shop("step", "list", "--json").json["steps"]
    assert shop("step", "show", "double", "--json").json in listed
    assert ["a", "required", "number"] in [
        line.split()[:3] for line in shop("step", "show", "double").out.splitlines()
    ]


def test_plan_names_what_is_missing_and_starts_nothing(shop: Cli) -> None:
    answer = shop("plan", "triple", "--json")
    assert (answer.status, answer.json["required"], list(answer.json["steps"])) == (
        0,
        ["a"],
        ["double", "triple"],
    )
    assert "missing  a (give each with --init)" in shop("plan", "triple").out
    assert shop("flow", "list", "--json").json["total"] == 3


def test_plan_shows_providers_before_consumers_and_why(shop: Cli) -> None:
    out = shop("plan", "triple", "--init", "a=1", "--why").out
    rows = [line.split() for line in out.splitlines() if line.startswith(("double", "triple", "broken"))]
    assert [row[0] for row in rows] == ["double", "triple", "broken"]
    assert "provides `b`, which `triple` needs" in out
    assert "left out: no goal needs what it provides" in out
