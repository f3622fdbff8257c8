"""`argyll doctor`: findings with their mend, and the status that goes with the worst of them."""

from __future__ import annotations

from typing import Any

import pytest
from cli_words import Cli

from argyll_redis.app import Argyll


def findings(*levels: str) -> dict[str, Any]:
    mend = {"ok": "", "warning": "raise it", "fault": "set it"}
    return {"findings": [{"level": each, "what": f"it is {each}", "mend": mend[each]} for each in levels]}


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes the doctor find what a test says."""

    def find(*levels: str) -> None:
        async def doctor(self: Argyll) -> dict[str, Any]:
            return findings(*levels)

        monkeypatch.setattr(Argyll, "doctor", doctor)

    return find


def test_each_finding_is_a_line_with_its_mend(cli: Cli, found: Any) -> None:
    found("ok", "warning")
    answer = cli("doctor")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == "ok       it is ok\nwarning  it is warning (raise it)\n"


def test_a_fault_is_bad_news(cli: Cli, found: Any) -> None:
    found("ok", "fault", "fault")
    text, as_json = cli("doctor"), cli("doctor", "--json")
    assert (text.status, text.err) == (1, "error: 2 faults found\n")
    assert (as_json.status, as_json.json) == (1, findings("ok", "fault", "fault"))


def test_a_real_server_is_looked_at_and_no_namespace_created(real_cli: Cli) -> None:
    answer = real_cli("doctor", "--json")
    said = {each["what"]: each["level"] for each in answer.json["findings"]}
    assert (answer.status, said["it runs scripts"]) == (0, "ok")
    assert said[f"namespace {real_cli.namespace} does not exist yet: its first use creates it"] == "ok"
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1")
    assert "warning  1 flow is open, and no engine is alive (run `argyll engine`)" in real_cli("doctor").out


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_server_that_cannot_be_reached_is_status_3(options: list[str]) -> None:
    answer = Cli("redis://localhost:1/0")("doctor", *options)
    assert (answer.status, answer.out, answer.err.count("\n")) == (3, "", 1)
    assert answer.err.startswith("error: cannot reach redis at ")
