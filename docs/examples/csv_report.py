"""From CSV files to a report: are the packages on this machine still what was installed?

Each installed package has a file RECORD, a CSV with a row for each of its files: path, SHA-256, size. The
flow reads the RECORD of each package, compares every file with its row, and ends in a report. Reading is
one call a package, and so is checking: `for_each` splits the list, and what comes of it is a list again.

A package that cannot be read (it is not installed, or was not installed by pip) does not stop the report:
with `on_failure="tolerate"` the others are in it, and it says who is not.

    python docs/examples/csv_report.py [PACKAGE ...]

It runs in memory; with ARGYLL_REDIS_URL=redis://localhost:6379/0 it runs on that server.
"""

import asyncio
import base64
import csv
import hashlib
import os
import sys
from importlib import metadata
from pathlib import Path

from argyll_redis import Argyll

app = Argyll(os.environ.get("ARGYLL_REDIS_URL", "memory://"), namespace="example-csv")

PACKAGES = ["anyio", "click", "redis", "no-such-package"]


@app.step(
    outputs="record",
    for_each="packages",
    parallelism=8,
    permanent=metadata.PackageNotFoundError,  # it will not be there at the next attempt either
    on_failure="tolerate",
)
def read_record(packages: str) -> list:
    """The rows of one package's RECORD that have a hash; what Python has compiled since has none."""
    text = metadata.distribution(packages).read_text("RECORD")
    if text is None:
        raise metadata.PackageNotFoundError(packages)
    rows = csv.DictReader(text.splitlines(), fieldnames=["path", "hash", "size"])
    return [row for row in rows if row["hash"]]


@app.step(outputs="check", for_each="record", parallelism=4)
def check_files(record: dict) -> dict:
    """Compares the files of one package with its rows."""
    package, rows = record["packages"], record["record"]
    changed = [row["path"] for row in rows if not is_as_recorded(package, row)]
    return {
        "package": package,
        "version": metadata.version(package),
        "files": len(rows),
        "bytes": sum(int(row["size"] or 0) for row in rows),
        "changed": changed,
    }


def is_as_recorded(package: str, row: dict) -> bool:
    """Whether a file is there, and has the hash of its row."""
    algorithm, _, recorded = row["hash"].partition("=")
    file = Path(str(metadata.distribution(package).locate_file(row["path"])))
    if not file.is_file():
        return False
    found = hashlib.new(algorithm, file.read_bytes()).digest()
    return base64.urlsafe_b64encode(found).rstrip(b"=").decode() == recorded


@app.step(outputs="report")
def write_report(packages: list, check: list) -> str:
    """The report, as text. Needs all packages, too, to say which could not be checked."""
    checks = sorted((row["check"] for row in check), key=lambda each: -each["bytes"])
    missing = sorted(set(packages) - {each["package"] for each in checks})
    return "\n".join(
        [
            f"{'PACKAGE':<16} {'VERSION':<10} {'FILES':>5} {'KIB':>6}  CHANGED",
            *(report_line(each) for each in checks),
            f"Not checked: {', '.join(missing) or 'none'}",
        ]
    )


def report_line(check: dict) -> str:
    changed = ", ".join(check["changed"]) or "-"
    kib = check["bytes"] // 1024
    return f"{check['package']:<16} {check['version']:<10} {check['files']:>5} {kib:>6}  {changed}"


async def story() -> None:
    flow = await app.start(goals=[write_report], init={"packages": sys.argv[1:] or PACKAGES})
    print((await flow.result(timeout_ms=60_000))["report"])

    print("\nHow was that found?")
    for step in ("read_record", "check_files"):
        for clause in (await app.why(flow.id, step))["why"]:
            print(f"  {step}: {clause['text']} (event {clause['version']})")


async def main() -> None:
    async with app:
        await app.run(until=story)


if __name__ == "__main__":
    asyncio.run(main())
