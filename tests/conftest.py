"""What every test needs; rooms keep their own fixtures beside their tests."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings
from tests.heard import listened_to
from tests.leaks import leaks, without_leaks

__all__ = ["listened_to", "without_leaks"]

# A shared machine is slow now and then; a property that holds late still holds. What is run to
# decide about a change tries the same examples every time; HYPOTHESIS_PROFILE=search tries others.
settings.register_profile("interlock", deadline=None, derandomize=True, database=None)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "interlock"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel between processes as UTF-8; what a test of ours logs or prints may not be."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    for name, text in report.sections:
        if any(secret in text for secret in leaks.secrets):
            report.outcome = "failed"
            report.longrepr = f"A secret was written: {name}"
    return report
