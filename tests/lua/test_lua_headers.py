"""Every script's header is its contract; header, arguments and wrapper stay together."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from argyll_redis.store.redis import RedisStore
from argyll_redis.store.scripts import directory, script

SCRIPTS = sorted(path.stem for path in directory().glob("*.lua"))
PARTS = sorted(path.stem for path in (directory() / "lib").glob("*.lua"))
RUN = r'_run\w*\(\s*"(\w+)"'
"""How a script is run in the store's source."""
SECTIONS = ["Purpose", "Method", "KEYS", "ARGV", "Reply", "Crash"]


def header_and_code(name: str) -> tuple[list[str], list[str]]:
    lines = (directory() / f"{name}.lua").read_text().splitlines()
    end = next(i for i, line in enumerate(lines) if not line.startswith(("#!", "--")))
    return lines[:end], lines[end:]


def section(name: str, title: str) -> str:
    header, _ = header_and_code(name)
    return next(line for line in header if line.startswith(f"-- {title}: ")).partition(": ")[2]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_begins_so_that_redis_refuses_it_up_front_when_it_is_out_of_memory(name: str) -> None:
    assert script(name).text.startswith("#!lua\n")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_header_has_all_sections_in_order(name: str) -> None:
    header, _ = header_and_code(name)
    titles = [found[1] for line in header if (found := re.match(r"-- ([A-Z]\w+): .", line))]
    assert titles == SECTIONS


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_first_line_after_the_header_binds_the_arguments_that_the_header_names(name: str) -> None:
    names = section(name, "ARGV").split()
    values = [f"ARGV[{i}]" for i in range(1, len(names) + 1)]
    _, code = header_and_code(name)
    assert code[0] == f"local {', '.join(names)} = {', '.join(values)}"


def runs_of(method: str) -> list[str]:
    """Names the scripts that a method of the store runs itself or by a private method that it calls."""
    source = inspect.getsource(getattr(RedisStore, method))
    private = [name for name in re.findall(r"self\.(_\w+)\(", source) if not name.startswith("_run")]
    sources = [source, *(inspect.getsource(getattr(RedisStore, name)) for name in dict.fromkeys(private))]
    return re.findall(RUN, "".join(sources))


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_method_that_the_header_names_runs_this_script_and_no_other(name: str) -> None:
    assert runs_of(section(name, "Method")) == [name]


def test_every_script_that_the_store_runs_is_there() -> None:
    runs = re.findall(RUN, inspect.getsource(RedisStore))
    assert sorted(runs) == SCRIPTS


@pytest.mark.parametrize("name", PARTS)
def test_a_shared_part_says_what_it_is_for_and_is_used(name: str) -> None:
    assert (directory() / "lib" / f"{name}.lua").read_text().startswith("-- ")
    assert any(f"-- include: {name}\n" in (directory() / f"{each}.lua").read_text() for each in SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_shared_parts_are_put_in(name: str) -> None:
    assert "-- include:" not in script(name).text


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_readme_tells_of_every_script(name: str) -> None:
    readme = (Path(directory()) / "README.md").read_text()
    assert f"| `{name}` |" in readme


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_sets_no_global_and_decodes_nothing(name: str) -> None:
    text = re.sub(r"--.*", "", script(name).text)
    assert "cjson" not in text
    assert re.findall(r"^function ", text, re.MULTILINE) == []
