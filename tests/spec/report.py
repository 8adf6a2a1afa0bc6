"""Which requirements have a test that passes, and why the others have none.

Usage: python -m tests.spec.report [pytest arguments]

Runs the tests that have a mark first, wherever they stand. Exits 1 when one fails, when a row is
excused and tested all the same, or when fewer than 98 of 100 MUST rows are tested.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.spec.marking import MARK
from tests.spec.requirements import LEVELS, REQUIREMENTS, Requirement, why_untested

TESTS = Path(__file__).parents[1]

ENOUGH = 98


class Tally:
    """A pytest plugin: how many tests each requirement has, and which of them did not pass."""

    def __init__(self) -> None:
        self.tests: Counter[str] = Counter()
        self.broken: set[str] = set()
        self._rows: dict[str, list[str]] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            rows = [name for mark in item.iter_markers(MARK) for name in mark.kwargs["ids"]]
            self._rows[item.nodeid] = rows
            self.tests.update(rows)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.broken.update(self._rows.get(report.nodeid, []))


def verdict(row: Requirement, tests: Mapping[str, int]) -> str:
    """How a row stands, in a word and a reason."""
    if tests.get(row.id):
        return "tested"
    why = why_untested(row)
    return f"untested: {why}" if why is not None else "MISSING: no test, and no reason"


def marked() -> list[Path]:
    """The files with tests that have a mark."""
    mark = f"@{MARK}("
    return [path for path in sorted(TESTS.rglob("test_*.py")) if mark in path.read_text("utf-8")]


def share(tests: Mapping[str, int]) -> tuple[int, int]:
    """How many of the MUST rows are tested, and how many there are."""
    rows = [row for row in REQUIREMENTS.values() if row.must]
    return sum(bool(tests.get(row.id)) for row in rows), len(rows)


def describe(tests: Mapping[str, int]) -> list[str]:
    """The report, line by line."""
    lines: list[str] = []
    section = ""
    for row in REQUIREMENTS.values():
        if row.section != section:
            section = row.section
            lines += ["", section]
        number = f"{tests.get(row.id, 0):4}" if tests.get(row.id) else "    "
        lines.append(f"  {row.id:8} {row.level:2} {number}  {verdict(row, tests)}")
    lines += ["", "level   rows  tested  excused  missing"]
    for level in LEVELS:
        rows = [row for row in REQUIREMENTS.values() if row.level == level]
        tested = sum(bool(tests.get(row.id)) for row in rows)
        missing = sum(verdict(row, tests).startswith("MISSING") for row in rows)
        excused = len(rows) - tested - missing
        lines.append(f"{level:5} {len(rows):6} {tested:7} {excused:8} {missing:8}")
    tested, rows = share(tests)
    percent = f"{100 * tested / rows:.1f} % (at least {ENOUGH} % are asked for)"
    lines += ["", f"MUST rows: {tested} of {rows} tested, {percent}"]
    return lines


def main(arguments: list[str]) -> int:
    tally = Tally()
    files = [str(path) for path in marked()]
    failed = pytest.main(["-q", "-m", MARK, *files, *arguments], plugins=[tally])
    lines = describe(tally.tests)
    stale = [name for name in tally.tests if why_untested(REQUIREMENTS[name]) is not None]
    if stale:
        lines.append(f"tested, though there is a reason why not: {' '.join(sorted(stale))}")
    if tally.broken:
        lines.append(f"tests fail for: {' '.join(sorted(tally.broken))}")
    sys.stdout.write("\n".join([*lines, ""]))
    tested, rows = share(tally.tests)
    return 1 if failed or stale or tested * 100 < rows * ENOUGH else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
