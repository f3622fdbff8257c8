"""The steps, called in the order a plan calls them, come to what one process comes to."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from argyll_redis.demo import plain, steps
from argyll_redis.errors import NotCompleted


@dataclass(frozen=True)
class Call:
    attempt: int


@pytest.fixture
def root(tmp_path: Path) -> str:
    folder = tmp_path / "shop"
    folder.mkdir()
    (folder / "base.py").write_text("def f(x):\n    return [y for y in x if y]\n")
    (folder / "cart.py").write_text("import base, order\n")
    (folder / "order.py").write_text("import cart\ndef g():\n    import base\n")
    return str(folder)


def through_json(value: Any) -> Any:
    """What a value is after it was an attribute of a flow."""
    return json.loads(json.dumps(value))


def measure_all(modules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The list that a step with for_each provides."""
    return [{"modules": module, "measures": through_json(steps.measure(module))} for module in modules]


def run(root: str, report_dir: Path) -> dict[str, Any]:
    modules = through_json(steps.list_modules(root))
    measures = measure_all(modules)
    graph = through_json(steps.build_graph(measures))
    report = steps.write_report(
        root=root,
        report_dir=str(report_dir),
        summary=through_json(steps.summarise_measures(measures)),
        graph=graph,
        cycles=through_json(steps.find_cycles(graph)),
        ranking=through_json(steps.rank_modules(graph, measures)),
        licence=through_json(steps.read_licence(root, Call(attempt=2))),
    )
    return {"modules": modules, "measures": measures, "report": through_json(report)}


def test_the_steps_come_to_what_one_process_comes_to(root: str, tmp_path: Path) -> None:
    values = run(root, tmp_path / "out")
    assert plain.check({"report": values["report"]}) == []


def test_a_wrong_figure_and_a_changed_file_are_told(root: str, tmp_path: Path) -> None:
    report = run(root, tmp_path / "out")["report"]
    report["figures"]["lines"] += 1
    report["figures"]["digests"]["graph"] = "0"
    Path(report["html"]).write_text("nothing")
    Path(report["markdown"]).unlink()
    assert plain.check({"report": report}) == [
        "lines: the flow came to 7, one process to 6",
        "graph: not what one process came to",
        f"{report['markdown']}: No such file or directory",
        f"{report['html']}: not the report that one process writes",
    ]


def test_a_lost_module_is_told(root: str, tmp_path: Path) -> None:
    report = run(root, tmp_path / "out")["report"]
    Path(root, "extra.py").write_text("")
    assert "modules: the flow came to 3, one process to 4" in plain.check({"report": report})


def test_a_report_written_twice_is_the_same_and_leaves_no_drafts(root: str, tmp_path: Path) -> None:
    first, second = run(root, tmp_path / "out")["report"], run(root, tmp_path / "out")["report"]
    assert first == second
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.md"]


def test_the_first_attempt_to_read_the_licence_is_staged_to_fail(root: str) -> None:
    with pytest.raises(NotCompleted) as caught:
        steps.read_licence(root, Call(attempt=1))
    assert caught.value.after_ms == steps.LOCKED_FOR_MS
    assert steps.read_licence(root, Call(attempt=2))["file"] is None


def test_heavy_modules_are_compiled_but_not_run(root: str, tmp_path: Path) -> None:
    Path(root, "bomb.py").write_text(
        "def boom():\n    if 1:\n        raise SystemExit\n\nboom()\nboom()\n" * 9
    )
    values = run(root, tmp_path / "out")
    ranking = steps.rank_modules(steps.build_graph(values["measures"]), values["measures"])
    profile = steps.profile_heavy_modules(values["modules"], ranking, deep=True)
    assert {row["module"] for row in profile} == {"base", "bomb", "cart", "order"}
    heaviest = profile[0]
    assert (heaviest["module"], heaviest["functions"], heaviest["largest"]) == ("bomb", 10, "<module>")


def test_a_published_report_lies_in_a_folder_named_by_its_content(root: str, tmp_path: Path) -> None:
    report = run(root, tmp_path / "out")["report"]
    published = steps.publish_report(report, str(tmp_path / "www"))
    assert steps.publish_report(report, str(tmp_path / "www")) == published
    assert Path(published["html"]).read_bytes() == Path(report["html"]).read_bytes()
    assert len(list((tmp_path / "www").iterdir())) == 1


def test_releases_are_compared_module_by_module(root: str) -> None:
    old = measure_all(steps.list_modules(root))
    Path(root, "cart.py").write_text("def h(a):\n    return a or 1\n\n")
    Path(root, "order.py").unlink()
    Path(root, "new.py").write_text("")
    assert steps.compare_releases(measure_all(steps.list_modules(root)), old) == {
        "added": ["new"],
        "removed": ["order"],
        "lines": -1,
        "complexity": 1,
        "changed": [{"module": "cart", "lines": 2, "complexity": 2}],
    }


def test_every_required_input_is_provided_by_a_step_or_given_at_the_start() -> None:
    provided = {
        "modules", "measures", "summary", "graph", "cycles", "ranking", "licence", "report",
        "profile", "published", "comparison",
    }  # fmt: skip
    given = {"root", "report_dir", "deep", "publish_dir", "baseline"}
    functions = [
        function
        for name, function in inspect.getmembers(steps, inspect.isfunction)
        if function.__module__ == steps.__name__ and not name.startswith("_")
    ]
    assert len(functions) == 11
    for function in functions:
        assert set(inspect.signature(function).parameters) - {"ctx"} <= provided | given
