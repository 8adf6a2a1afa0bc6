"""The table of requirements itself, and the report on it."""

from __future__ import annotations

import ast
from collections import Counter

import pytest
from tests.spec.marking import requirement
from tests.spec.report import ENOUGH, TESTS, Tally, describe, marked, share, verdict
from tests.spec.requirements import (
    LEVELS,
    REQUIREMENTS,
    UNTESTED,
    link_of,
    revisions_of,
    why_untested,
)


def test_every_row_is_whole():
    assert len(REQUIREMENTS) >= 390
    for name, row in REQUIREMENTS.items():
        assert row.id == name
        assert row.level in LEVELS
        assert row.revisions
        assert row.sentence.endswith(".")
        assert row.links
        assert all(link.startswith("https://") for link in row.links)


def test_what_is_excused_is_in_the_table():
    assert [name for name in UNTESTED if name not in REQUIREMENTS] == []


def test_a_span_of_revisions_is_read():
    assert revisions_of("A+") == revisions_of("A-E")
    assert revisions_of("B") == ("2025-03-26",)
    assert revisions_of("C-D") == ("2025-06-18", "2025-11-25")


def test_a_page_has_a_link_of_its_revision():
    assert link_of("e/base").endswith("/2026-07-28/basic/index.mdx")
    assert link_of("d/tr").endswith("/2025-11-25/basic/transports.mdx")
    assert link_of("e/canc").endswith("/2026-07-28/basic/patterns/cancellation.mdx")
    assert link_of("sep-1699").endswith("/issues/1699")


def test_a_mark_with_an_unknown_row_is_refused():
    with pytest.raises(ValueError, match="RPC-99"):
        requirement("RPC-04", "RPC-99")
    with pytest.raises(ValueError, match="nothing"):
        requirement()


def test_a_test_runs_in_the_revisions_that_its_rows_share():
    assert requirement("RPC-04", "RPC-08").kwargs["revisions"] == ("2026-07-28",)
    assert requirement("RPC-04", revisions=["2025-06-18"]).kwargs["revisions"] == ("2025-06-18",)


def test_a_row_without_test_and_reason_is_missing():
    row = REQUIREMENTS["RPC-01"]
    assert why_untested(row) is None
    assert verdict(row, {}).startswith("MISSING")
    assert verdict(row, {"RPC-01": 1}) == "tested"
    assert any("RPC-01" in line and "MISSING" in line for line in describe({}))


def test_every_must_counts_and_nothing_else_does():
    assert REQUIREMENTS["CF-01"].must
    assert not REQUIREMENTS["RPC-15"].must
    tested, rows = share({})
    assert (tested, rows) == (0, sum(row.must for row in REQUIREMENTS.values()))
    assert share({"RPC-01": 2, "RPC-15": 1, "CF-01": 1}) == (2, rows)
    assert f"at least {ENOUGH} %" in describe({"RPC-01": 1})[-1]


def test_marks_are_found_wherever_they_stand():
    found = {str(path.relative_to(TESTS)) for path in marked()}
    assert {"spec/test_tools.py", "auth/test_flow.py", "auth/issuer/test_grants.py"} <= found


def test_a_test_that_fails_names_its_rows():
    tally = Tally()
    tally.tests = Counter({"RPC-01": 1})
    tally._rows = {"a": ["RPC-01"], "b": ["RPC-02"]}  # pyright: ignore[reportPrivateUsage]
    tally.pytest_runtest_logreport(
        pytest.TestReport("a", ("a", 0, "a"), {}, "passed", None, "call")
    )
    tally.pytest_runtest_logreport(
        pytest.TestReport("b", ("b", 0, "b"), {}, "failed", None, "call")
    )
    assert tally.broken == {"RPC-02"}


def test_enough_of_what_must_be_is_tested():
    """What make spec finds out by running, read from the marks: at least 98 of 100 MUST rows, and a
    test or a reason for each other one.
    """
    tests: Counter[str] = Counter()
    for path in marked():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                tests.update(name for each in node.decorator_list for name in rows_of(each))
    tested, rows = share(tests)
    assert 100 * tested >= ENOUGH * rows
    excused = [name for name in tests if why_untested(REQUIREMENTS[name]) is not None]
    assert excused == []
    missing = [row.id for row in REQUIREMENTS.values() if "MISSING" in verdict(row, tests)]
    assert missing == []


def rows_of(decorator: ast.expr) -> list[str]:
    """The rows that a decorator names, if it is our mark."""
    if not isinstance(decorator, ast.Call) or not isinstance(decorator.func, ast.Name):
        return []
    if decorator.func.id != requirement.__name__:
        return []
    return [str(each.value) for each in decorator.args if isinstance(each, ast.Constant)]
