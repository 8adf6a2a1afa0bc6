"""What every test needs; rooms keep their own fixtures beside their tests."""

from __future__ import annotations

from collections.abc import Generator

import pytest
from hypothesis import settings
from tests.heard import listened_to

__all__ = ["listened_to"]

# A shared machine is slow now and then; a property that holds late still holds.
settings.register_profile("interlock", deadline=None)
settings.load_profile("interlock")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Reports travel between processes as UTF-8; what a test of ours logs or prints may not be."""
    report = yield
    report.sections = [
        (name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections
    ]
    return report
