"""What an idle listener costs in memory: there may be thousands, and they stay for days."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SERVICE = 2_500
"""Bytes a listener may cost the service, its task included."""
ENDPOINT = 5_000
"""Bytes an endpoint may add to what its server library keeps for a connection that stays open."""

PROJECT = Path(__file__).parent.parent.parent


def test_an_idle_listener_costs_little():
    done = subprocess.run(
        [sys.executable, "-m", "tests.budget.idle"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    weight = json.loads(done.stdout)
    assert weight["service"] <= SERVICE
    assert weight["endpoint"] <= ENDPOINT
