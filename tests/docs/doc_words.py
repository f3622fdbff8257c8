"""What tests of the docs speak in: pages, their blocks, and terminals that a page's commands are typed into.

How a page is written so that its commands are run:

- A `console` fence holds what a terminal shows: lines that begin with `$ ` are commands (`> ` carries one
  on), what follows each is what it prints, `...` stands for what varies. All `console` fences of a page
  are typed in order into one shell, in an empty directory, with a Redis of the page's own in
  `ARGYLL_REDIS_URL`. A command must succeed, unless the next one is `echo $?`.
- A fence `console NAME` is another terminal, whose one command goes on running: it is waited for until
  it has printed what the fence shows. A line `^C` interrupts it; a line `Killed` is what is seen of one that
  is killed. Where it says `export NAME=VALUE`, the shell is told so, as the reader is.
- A `python` fence whose first line is a comment with a file's name is put into that file first.
"""

from __future__ import annotations

import doctest
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.rglob("*.md")])
LIMIT_S = 100
"""Longest time for the commands of a page; then its terminals are closed."""
AWAIT_S = 30
"""Longest time until what goes on running has printed what a page shows."""
_POLL_S = 0.02
_END = "~~~ended with "
_FENCE = re.compile(r"^```(\w+)?[ \t]*(\S*)[^\n]*\n(.*?)^```", re.S | re.M)
_FILE = re.compile(r"# ([\w-]+\.py)\n")
_INDENTED = re.compile(r"(?<=\n\n)(?:    \S[^\n]*\n)+")


def name_of(page: Path) -> str:
    """The page as it is called in messages."""
    return str(page.relative_to(ROOT)) if page.is_relative_to(ROOT) else page.name


@dataclass(frozen=True)
class Fence:
    """A fenced block of a page."""

    language: str
    word: str
    """What stands behind the language."""
    text: str
    where: str


@dataclass(frozen=True)
class Typed:
    """A command and what it prints."""

    command: str
    printed: str


def fences(page: Path) -> list[Fence]:
    """The fenced blocks in order."""
    text = page.read_text()
    return [
        Fence(
            found[1] or "", found[2], found[3], f"{name_of(page)}:{text.count(chr(10), 0, found.start()) + 1}"
        )
        for found in _FENCE.finditer(text)
    ]


def unfenced(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def indented_commands(page: Path) -> list[str]:
    """Commands in indented blocks and in `sh` fences, without remarks; those of several lines as one."""
    blocks = _INDENTED.findall(unfenced(page))
    blocks += [each.text for each in fences(page) if each.language in ("sh", "bash")]
    lines = [line for block in blocks for line in re.sub(r"\\\n\s*", "", block).splitlines()]
    return [line.split("  #")[0].strip() for line in lines if line.strip()]


def inline_commands(page: Path, start: str) -> list[str]:
    """Pieces of code within sentences and tables that begin with these words."""
    return [each for each in re.findall(r"`([^`\n]+)`", unfenced(page)) if each.startswith(start)]


def typed(text: str) -> list[Typed]:
    """The commands of a `console` block, each with what it prints."""
    commands: list[list[str]] = []
    printed: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            commands.append([line[2:]])
            printed.append([])
        elif line.startswith("> ") and not printed[-1]:
            commands[-1].append(line[2:])
        else:
            printed[-1].append(line)
    return [
        Typed("\n".join(command), "".join(f"{line}\n" for line in lines))
        for command, lines in zip(commands, printed, strict=True)
    ]


def agrees(expected: str, actual: str) -> bool:
    """Whether a page shows what was printed; blanks at ends of lines do not count."""
    stripped = "".join(f"{line.rstrip()}\n" for line in actual.splitlines())
    return doctest.OutputChecker().check_output(expected, stripped, doctest.ELLIPSIS)


# ------------------------------------------------------------------- terminals


class Page:
    """A page being followed: its directory, a shell, and what goes on in other terminals."""

    def __init__(self, directory: Path, url: str, *, tree: Path | None = None) -> None:
        """`tree` is a changed copy of the tree, which is then where commands are typed."""
        self._directory = tree or directory / "page"
        self._directory.mkdir(exist_ok=True)
        self._environment = _environment(directory / "bin", tree or ROOT)
        self._url = url
        self._others: dict[str, _Other] = {}
        self._shell = self._started(["bash", "--norc"], ARGYLL_REDIS_URL=url)
        self._alarm = threading.Timer(LIMIT_S, self._kill)
        self._alarm.start()

    def follow(self, page: Path) -> None:
        """Does what the page says, and compares."""
        for fence in fences(page):
            file = _FILE.match(fence.text)
            if fence.language == "python" and file:
                (self._directory / file[1]).write_text(fence.text)
            elif fence.language == "console" and fence.word:
                self._go_on(fence)
            elif fence.language == "console":
                self._type(fence)

    def close(self) -> None:
        """Ends everything that was started."""
        self._alarm.cancel()
        self._kill()
        self._shell.communicate()
        for other in self._others.values():
            other.join()

    def _started(self, arguments: list[str], **variables: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self._directory,
            env={**self._environment, **variables},
            start_new_session=True,
        )

    def _kill(self) -> None:
        for process in [self._shell, *(other.process for other in self._others.values())]:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    # ------------------------------------------------------------------ the shell

    def _type(self, fence: Fence) -> None:
        commands = typed(fence.text)
        for index, each in enumerate(commands):
            status, printed = self._run(each.command)
            assert agrees(each.printed, printed), _differs(fence.where, each.command, each.printed, printed)
            is_told = index + 1 < len(commands) and commands[index + 1].command == "echo $?"
            assert status == 0 or is_told, f"{fence.where}: `{each.command}` ended with {status}: {printed}"

    def _run(self, command: str) -> tuple[int, str]:
        """Types a command; gives its exit status and what the terminal shows."""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        # The status is set again, for an `echo $?` that follows.
        self._shell.stdin.write(
            f"{{\n{command}\n}} </dev/null\n_s=$?; printf '\\n{_END}%s\\n' $_s; (exit $_s)\n"
        )
        self._shell.stdin.flush()
        lines: list[str] = []
        for line in self._shell.stdout:
            if line.startswith(_END):
                printed = "".join(lines)
                return int(line.removeprefix(_END)), printed.removesuffix("\n")
            lines.append(line)
        raise AssertionError(f"`{command}` did not end within {LIMIT_S} s, it printed: {''.join(lines)}")

    # -------------------------------------------------------------- other terminals

    def _go_on(self, fence: Fence) -> None:
        """Starts what goes on running, or looks at it again."""
        if fence.text.startswith("$ "):
            [command] = typed(fence.text)
            assert fence.word not in self._others, f"{fence.where}: {fence.word} is running already"
            variables = {} if command.command.startswith("argyll dev") else {"ARGYLL_REDIS_URL": self._url}
            process = self._started(["bash", "--norc", "-c", f"exec {command.command}"], **variables)
            other = self._others[fence.word] = _Other(process)
            rest = command.printed
        else:
            other, rest = self._others[fence.word], fence.text
        rest, killed, _ = rest.partition("Killed\n")
        before, interrupt, after = rest.partition("^C\n")
        self._await(fence, other, before)
        if interrupt:
            other.process.send_signal(signal.SIGINT)
            self._await(fence, other, after)
        if killed:
            other.process.kill()

    def _await(self, fence: Fence, other: _Other, expected: str) -> None:
        deadline = time.monotonic() + AWAIT_S
        while not agrees(expected, other.unread):
            assert time.monotonic() < deadline, _differs(fence.where, fence.word, expected, other.unread)
            time.sleep(_POLL_S)
        for name, value in re.findall(r"^ *export (\w+)=(.*)$", other.read(), re.M):
            self._run(f"export {name}={value}")


class _Other:
    """A terminal in which something goes on running."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._lines: list[str] = []
        self._read = 0
        self._reader = threading.Thread(target=self._gather)
        self._reader.start()

    @property
    def unread(self) -> str:
        """What it has printed since it was last read."""
        return "".join(self._lines[self._read :])

    def read(self) -> str:
        """Gives what is unread."""
        lines = self._lines[self._read :]
        self._read += len(lines)
        return "".join(lines)

    def join(self) -> None:
        """Waits for the end of what was killed."""
        self.process.wait()
        self._reader.join()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _gather(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)


def _environment(programs: Path, tree: Path) -> dict[str, str]:
    """A reader's environment: `argyll` and `python` are those of this tree, nothing else is set."""
    programs.mkdir()
    for name, arguments in (("argyll", " -m argyll_redis.cli"), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)}{arguments} "$@"\n')
        program.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ARGYLL_")}
    path = os.pathsep.join([str(programs), clean.get("PATH", "")])
    return {**clean, "PATH": path, "PYTHONPATH": str(tree), "COLUMNS": "110"}


def _differs(where: str, command: str, expected: str, actual: str) -> str:
    return f"{where}: `{command}`\n--- the page shows\n{expected}--- it printed\n{actual}"


def console_pages() -> Iterator[Path]:
    """Pages that have commands to follow."""
    for page in PAGES:
        if any(fence.language == "console" for fence in fences(page)):
            yield page
