"""What is measured of a module is what the module's docstring promises, and nothing is ever run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from argyll_redis.demo import analysis

MAX_MEASURE_BYTES = 2_000


def write(root: Path, **sources: str) -> str:
    """Writes modules, `a__b` being a/b.py, and returns the folder."""
    for name, source in sources.items():
        path = root.joinpath(*name.split("__")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(source), encoding="utf-8")
    return str(root)


def package(root: Path, name: str, source: str = "") -> None:
    folder = root / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(dedent(source), encoding="utf-8")


def measured(root: Path, name: str) -> dict[str, Any]:
    modules = {module["module"]: module for module in analysis.list_modules(str(root))}
    return analysis.measure(modules[name])


def complexity_of(root: Path, source: str) -> int:
    write(root, sample=source)
    return measured(root, "sample")["complexity"]


# ---------------------------------------------------------------- list_modules


def test_modules_are_listed_by_dotted_name_with_absolute_paths(tmp_path: Path) -> None:
    package(tmp_path, "shop")
    write(tmp_path, shop__cart="", alone="")
    listed = analysis.list_modules(str(tmp_path))
    assert [(module["module"], module["path"]) for module in listed] == [
        ("alone", str(tmp_path / "alone.py")),
        ("shop", str(tmp_path / "shop" / "__init__.py")),
        ("shop.cart", str(tmp_path / "shop" / "cart.py")),
    ]


def test_tests_and_what_is_not_importable_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, kept="", tests__test_kept="", idlelib__run="", site_packages__x="")
    (tmp_path / "site_packages").rename(tmp_path / "site-packages")
    (tmp_path / "not-a-name.py").write_text("")
    (tmp_path / "notes.txt").write_text("")
    assert [module["module"] for module in analysis.list_modules(str(tmp_path))] == ["kept"]


def test_a_folder_that_is_a_package_gives_its_name_to_its_modules(tmp_path: Path) -> None:
    package(tmp_path, "shop", "from shop import cart")
    write(tmp_path, shop__cart="")
    assert [module["module"] for module in analysis.list_modules(str(tmp_path / "shop"))] == [
        "shop",
        "shop.cart",
    ]
    assert measured(tmp_path / "shop", "shop")["imports"] == ["shop.cart"]


def test_a_folder_without_modules_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no Python modules"):
        analysis.list_modules(str(tmp_path))


def test_more_modules_than_a_step_may_have_items_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(analysis, "MAX_MODULES", 1)
    with pytest.raises(ValueError, match="more than 1 modules"):
        analysis.list_modules(write(tmp_path, a="", b=""))


# --------------------------------------------------------------------- measure


def test_lines_functions_and_classes_are_counted_nested_ones_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        sample="""\
        class Outer:
            class Inner:
                def method(self):
                    def nested(): ...
                    return nested

        async def top(): ...
        """,
    )
    figures = measured(tmp_path, "sample")
    assert {key: figures[key] for key in ("lines", "functions", "classes")} == {
        "lines": 7,
        "functions": 3,
        "classes": 2,
    }


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1", 0),
        ("def f(): pass", 1),
        ("if a: pass\nelif b: pass\nelse: pass", 2),
        ("x = 1 if a else 2", 1),
        ("for x in y: pass\nelse: pass", 1),
        ("while a: break", 1),
        ("async def f():\n  async for x in y: pass", 2),
        ("try: pass\nexcept A: pass\nexcept B: pass\nelse: pass\nfinally: pass", 2),
        ("try: pass\nexcept* A: pass", 1),
        ("x = a and b and c or d", 3),
        ("x = [i for i in y if i if j for k in i]", 4),
        ("x = {i: j for i, j in y}", 1),
        ("match x:\n  case 1: pass\n  case [a, b]: pass\n  case _: pass", 2),
        ("match x:\n  case 1: pass\n  case other: pass", 1),
        ("match x:\n  case _ if a: pass", 1),
        ("assert a\nwith b: pass\nlambda: (c or d)", 1),
        ("def f():\n  def g():\n    if a: pass\n  if b: pass", 4),
    ],
)
def test_complexity_is_counted_as_documented(tmp_path: Path, source: str, expected: int) -> None:
    assert complexity_of(tmp_path, source) == expected


def test_the_most_complex_function_is_named_with_its_class_and_line(tmp_path: Path) -> None:
    write(tmp_path, sample="def a(): pass\n\nclass C:\n    def b(self):\n        return 1 if x else 2\n")
    assert measured(tmp_path, "sample")["worst"] == {"function": "C.b", "line": 4, "complexity": 2}


def test_a_default_value_counts_for_what_is_around_the_function(tmp_path: Path) -> None:
    write(tmp_path, sample="def f(a=x or y): pass")
    figures = measured(tmp_path, "sample")
    assert (figures["complexity"], figures["worst"]["complexity"]) == (2, 1)


def test_long_chains_of_elif_are_measured_without_running_out_of_stack(tmp_path: Path) -> None:
    chain = "if x == 0: pass\n" + "".join(f"elif x == {n}: pass\n" for n in range(1, 90))
    assert complexity_of(tmp_path, chain) == 90


def test_source_that_does_not_parse_is_a_problem_and_not_a_failure(tmp_path: Path) -> None:
    write(tmp_path, sample="def f(:\n")
    figures = measured(tmp_path, "sample")
    assert (figures["lines"], figures["functions"], figures["worst"]) == (1, 0, None)
    assert figures["problem"].startswith("SyntaxError: ")


def test_source_over_the_limit_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "MAX_SOURCE_BYTES", 10)
    write(tmp_path, sample="x = 1\n" * 10)
    assert measured(tmp_path, "sample")["problem"] == "ValueError: larger than 10 bytes"


def test_a_file_that_is_gone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        analysis.measure({"module": "gone", "path": str(tmp_path / "gone.py")})


def test_nothing_that_is_analysed_is_run(tmp_path: Path) -> None:
    write(tmp_path, bomb="raise SystemExit\nimport bomb_too", bomb_too="raise SystemExit")
    assert measured(tmp_path, "bomb")["imports"] == ["bomb_too"]
    assert "bomb" not in sys.modules


# --------------------------------------------------------------------- imports


def test_imports_lead_to_the_longest_name_that_is_a_module(tmp_path: Path) -> None:
    package(tmp_path, "shop")
    write(
        tmp_path,
        shop__cart="",
        alone="",
        sample="""
        import shop.cart as c
        import alone.attribute
        from shop import cart, CONSTANT
        from alone import *
        import sys, os.path
        """,
    )
    figures = measured(tmp_path, "sample")
    assert figures["imports"] == ["alone", "shop", "shop.cart"]
    assert figures["outside"] == ["os", "sys"]


def test_relative_imports_are_followed_from_modules_and_packages(tmp_path: Path) -> None:
    package(tmp_path, "shop", "from . import cart\nfrom .deep import inner")
    package(tmp_path, "shop/deep")
    write(tmp_path, shop__cart="", shop__deep__inner="from .. import cart\nfrom ..deep import inner, X")
    assert measured(tmp_path, "shop")["imports"] == ["shop.cart", "shop.deep.inner"]
    assert measured(tmp_path, "shop.deep.inner")["imports"] == ["shop.cart", "shop.deep"]


def test_imports_that_do_not_happen_on_load_are_deferred(tmp_path: Path) -> None:
    write(
        tmp_path,
        **dict.fromkeys(("a", "b", "c", "d", "e", "f"), ""),
        sample="""
        from typing import TYPE_CHECKING
        import typing
        try:
            import a
        except ImportError:
            pass
        class C:
            import b
        def function():
            import c, a
        if TYPE_CHECKING:
            import d
        else:
            import e
        if __name__ == "__main__":
            import f
        """,
    )
    figures = measured(tmp_path, "sample")
    assert (figures["imports"], figures["deferred"]) == (["a", "b", "e"], ["c", "d", "f"])


# --------------------------------------------------------------------- summary


def test_a_summary_adds_up_and_lists_the_largest_first(tmp_path: Path) -> None:
    package(tmp_path, "shop")
    write(
        tmp_path,
        shop__cart="def f(): pass\n" * 3,
        alone="import shop\ndef g():\n    return a or b\n",
        bad="(",
    )
    modules = analysis.list_modules(str(tmp_path))
    summary = analysis.summarise(analysis.measure(module) for module in modules)
    assert {key: summary[key] for key in ("modules", "lines", "functions", "complexity", "imports")} == {
        "modules": 4,
        "lines": 7,
        "functions": 4,
        "complexity": 5,
        "imports": 1,
    }
    assert [row["package"] for row in summary["packages"]] == ["alone", "shop", "bad"]
    assert [(row["module"], row["function"]) for row in summary["worst"]] == [
        ("alone", "g"),
        ("shop.cart", "f"),
    ]
    assert (summary["problem_count"], summary["problems"][0]["module"]) == (1, "bad")


# ------------------------------------------------------------ standard library


def test_the_standard_library_is_measured_into_small_json_values() -> None:
    modules = analysis.list_modules(analysis.standard_library())
    assert len(modules) > 300
    assert not [m for m in modules if "test" in m["module"].split(".") or "idlelib" in m["module"]]
    for module in modules[:: len(modules) // 40]:
        figures = analysis.measure(module)
        assert figures["problem"] is None
        assert len(json.dumps(figures)) < MAX_MEASURE_BYTES
        assert json.loads(json.dumps(figures)) == figures
