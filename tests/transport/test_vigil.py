"""What the warden's program knows of processes; that it ends them is in test_warden.py."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

from interlock.transport.vigil import born, group_lives, signal_group


def test_a_group_is_alive_until_only_zombies_are_left():
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"], start_new_session=True
    )
    watch = os.pidfd_open(child.pid)
    start = born(child.pid)
    assert start is not None
    assert group_lives(child.pid)
    assert signal_group(child.pid, signal.SIGKILL)
    assert select.select([watch], [], [], 10)[0]
    os.close(watch)
    assert not group_lives(child.pid)
    assert born(child.pid) == start  # its number is still its own
    child.wait()
    assert not group_lives(child.pid)
    assert not signal_group(child.pid, signal.SIGKILL)
    assert born(child.pid) is None


def test_a_process_is_told_from_the_next_with_its_number_by_its_birth():
    child = subprocess.Popen([sys.executable, "-I", "-S", "-c", "input()"], stdin=subprocess.PIPE)
    assert born(os.getpid()) is not None
    assert int(born(child.pid) or 0) >= int(born(os.getpid()) or 0)
    child.communicate(b"\n", timeout=10)


def test_a_group_of_others_counts_as_alive():
    assert group_lives(os.getpgid(os.getppid()))
