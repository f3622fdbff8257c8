"""`flow restart`, `export` and `import`; and `step update` and `delete`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_words import DOUBLE, STEPS, Cli, ended, process

from argyll_redis.archive import MAX_IMPORT_BYTES


@pytest.fixture
def shop(cli: Cli) -> Cli:
    """A namespace with our steps, and a flow `good` that is over."""
    cli.register()
    with cli.engine():
        cli(*("flow", "start", "triple", "--init", "a=5", "--id", "good", "--label", "t=x"), "--wait")
    return cli


def exported(cli: Cli, tmp_path: Path, flow: str = "good") -> Path:
    """The file of an export."""
    file = tmp_path / f"{flow}.jsonl"
    answer = cli("flow", "export", flow)
    assert (answer.status, answer.err) == (0, "")
    file.write_text(answer.out)
    return file


# -------------------------------------------------------------- export, import


def test_an_export_goes_into_another_namespace_and_is_shown_there(shop: Cli, tmp_path: Path) -> None:
    file, other = exported(shop, tmp_path), Cli()
    answer = other("flow", "import", str(file))
    assert (answer.status, answer.out) == (0, "flow good is imported\n")
    for command in (
        ["flow", "show", "good"],
        ["flow", "show", "good", "--at", "2"],
        ["flow", "events", "good"],
        ["flow", "events", "good", "--follow"],
        ["flow", "why", "good", "triple"],
        ["flow", "wait", "good"],
        ["flow", "export", "good"],
        ["flow", "watch", "good"],
        ["audit", "good"],
    ):
        assert other(*command) == shop(*command)
    assert other("flow", "list", "--json").json == shop("flow", "list", "--json").json


def test_an_export_is_an_object_a_line_with_json_or_without(shop: Cli) -> None:
    plain, as_json = shop("flow", "export", "good"), shop("flow", "export", "good", "--json")
    head, *events = plain.lines
    assert head == {"argyll_export": 1, "flow_id": "good", "events": len(events)}
    assert plain == as_json


def test_an_import_from_standard_input_answers_as_the_route_would(shop: Cli) -> None:
    answer = Cli()("flow", "import", "-", "--json", stdin=shop("flow", "export", "good").out)
    assert (answer.status, answer.json) == (0, {"message": "flow good is imported", "flow_id": "good"})


def test_an_export_and_an_import_are_a_pipe(real_cli: Cli) -> None:
    real_cli.register()
    real_cli("flow", "start", "double", "--init", "a=1", "--id", "f")
    found = ended(process("flow", "export", "f", **real_cli.variables))
    other = Cli()
    assert (found.status, other("flow", "import", "-", stdin=found.out).status) == (0, 0)
    assert [each["id"] for each in other("flow", "list", "--json").json["flows"]] == ["f"]


def test_a_flow_that_exists_is_not_imported(shop: Cli, tmp_path: Path) -> None:
    answer = shop("flow", "import", str(exported(shop, tmp_path)))
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1)
    assert 'flow "good" exists already' in answer.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: "", "the document: is empty"),
        (lambda text: text[: len(text) // 2], "not JSON"),
        (lambda text: "".join(text.splitlines(keepends=True)[:-1]), "ends after"),
        (lambda text: text.replace("step_started", "step_begun"), '"step_begun" is no event'),
        (lambda text: text.replace('"by":"start:', '"by":"nobody:', 1), "an origin that does not exist"),
        (lambda text: "[]\n" + text, "line 1: is not the header of an export"),
    ],
)
def test_a_broken_export_is_refused_in_one_line_that_names_the_file(
    change: Any, words: str, shop: Cli, tmp_path: Path
) -> None:
    file, other = tmp_path / "broken.jsonl", Cli()
    file.write_text(change(shop("flow", "export", "good").out))
    answer = other("flow", "import", str(file))
    assert (answer.status, answer.out, answer.err.count("\n")) == (2, "", 1), answer
    assert answer.err.startswith(f"error: {file}: ")
    assert words in answer.err
    assert other("flow", "list", "--json").json["total"] == 0


@pytest.mark.parametrize("name", ["missing.jsonl", ".", "nul\0byte"])
def test_a_file_that_cannot_be_read_is_refused_by_name(name: str, cli: Cli, tmp_path: Path) -> None:
    answer = cli("flow", "import", str(tmp_path / name))
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert "cannot be read: " in answer.err


def test_a_line_without_an_end_is_not_read_to_its_end(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "long.jsonl"
    with file.open("wb") as opened:
        opened.truncate(MAX_IMPORT_BYTES * 40)  # nothing of it is on the disk
    answer = cli("flow", "import", str(file))
    assert (answer.status, answer.err.count("\n")) == (2, 1)
    assert f"more than {MAX_IMPORT_BYTES:,} bytes" in answer.err


def test_nothing_is_exported_of_a_flow_that_is_not_there(cli: Cli) -> None:
    answer = cli("flow", "export", "gone")
    assert (answer.status, answer.out, answer.err) == (4, "", 'error: no flow "gone" exists\n')


# --------------------------------------------------------------------- restart


def test_a_restart_prints_the_id_of_the_new_flow(shop: Cli) -> None:
    answer = shop("flow", "restart", "good", "--id", "Again")
    assert (answer.status, answer.out) == (0, "again\n")
    state = shop("flow", "show", "again", "--json").json
    assert (state["labels"], state["attributes"]["a"][0]["value"]) == ({"t": "x"}, 5)


def test_a_restart_as_json_answers_what_the_route_answers(shop: Cli) -> None:
    found = shop("flow", "restart", "good", "--json").json
    assert found == {"message": f"flow {found['flow_id']} is started", "flow_id": found["flow_id"]}
    assert found["flow_id"] != "good"


@pytest.mark.parametrize(("flow", "status"), [("gone", 4), ("idle", 2)])
def test_a_restart_that_cannot_be_is_refused_in_one_line(flow: str, status: int, shop: Cli) -> None:
    """`idle` asks for an id that is taken by something else."""
    shop("flow", "start", "double", "--init", "a=1", "--id", "idle")
    answer = shop("flow", "restart", flow, "--id", "good")
    assert (answer.status, answer.out, answer.err.count("\n")) == (status, "", 1)


def test_a_restart_of_what_is_not_registered_any_more_names_it(shop: Cli) -> None:
    shop("step", "delete", "triple")
    answer = shop("flow", "restart", "good")
    assert (answer.status, answer.err.count("\n")) == (4, 1)
    assert "triple" in answer.err


# --------------------------------------------------------------- update, delete


def updated(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "name": "Another"}


def version(cli: Cli) -> int:
    """How many events the catalog has."""
    import asyncio

    from argyll_redis.app import Argyll

    async def ask() -> int:
        async with Argyll(cli.url, cli.namespace) as app:
            return (await (await app.node()).catalog.refresh()).version

    return asyncio.run(ask())


def test_an_update_replaces_definitions_as_one_transaction(cli: Cli) -> None:
    cli.register()
    answer = cli("step", "update", "-", "--json", stdin=json.dumps([updated(each) for each in STEPS]))
    assert (answer.status, answer.json["count"]) == (0, 3)
    assert answer.json["message"] == "3 steps are updated: double, triple, broken"
    assert {each["name"] for each in cli("step", "list", "--json").json["steps"]} == {"Another"}


def test_an_update_of_one_step_answers_with_the_step(cli: Cli) -> None:
    cli.register()
    answer = cli("step", "update", "-", "--json", stdin=json.dumps(updated(DOUBLE)))
    assert (answer.json["message"], answer.json["step"]["name"]) == ("step double is updated", "Another")


def test_an_equal_update_appends_nothing(cli: Cli) -> None:
    cli.register()
    before = version(cli)
    answer = cli("step", "update", "-", stdin=json.dumps(DOUBLE))
    assert (answer.status, answer.out, version(cli)) == (0, "step double is updated\n", before)


def test_an_update_of_a_step_that_is_not_registered_changes_none(cli: Cli) -> None:
    cli.register(DOUBLE)
    new = {**DOUBLE, "id": "dubble"}
    answer = cli("step", "update", "-", stdin=json.dumps([updated(DOUBLE), new]))
    assert (answer.status, answer.out, answer.err) == (
        4,
        "",
        "error: no step `dubble` is registered (did you mean `double`?)\n",
    )
    assert (cli("step", "show", "double", "--json").json["name"], version(cli)) == ("double", 1)


@pytest.mark.parametrize(
    ("content", "status"), [("[]", 2), ("{", 2), ("5", 2), ('{"id": "double"}', 2), (None, 2)]
)
def test_an_update_that_is_none_is_refused_in_one_line(content: str | None, status: int, cli: Cli) -> None:
    cli.register()
    file = "-" if content is not None else "/missing.json"
    answer = cli("step", "update", file, stdin=content)
    assert (answer.status, answer.out) == (status, "")
    assert all(line.startswith("error: ") for line in answer.err.splitlines())


def test_a_deleted_step_is_gone_and_a_started_flow_keeps_it(cli: Cli) -> None:
    cli.register()
    cli("flow", "start", "double", "--init", "a=2", "--id", "f")
    answer = cli("step", "delete", "double")
    assert (answer.status, answer.out) == (0, "step double is removed\n")
    assert cli("step", "delete", "triple", "--json").json == {"message": "step triple is removed"}
    assert [each["id"] for each in cli("step", "list", "--json").json["steps"]] == ["broken"]
    with cli.engine():
        assert cli("flow", "wait", "f", "--json").json["result"] == {"b": 4}


def test_what_is_not_registered_cannot_be_deleted(cli: Cli) -> None:
    cli.register(DOUBLE)
    answer = cli("step", "delete", "doubel")
    assert (answer.status, answer.out) == (4, "")
    assert answer.err == "error: no step `doubel` is registered (did you mean `double`?)\n"
