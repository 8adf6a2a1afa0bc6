"""The machine under a run: which core does what, who used how much of it, and started servers.

Reads /proc, so the figures are Linux's. Where cores cannot be chosen, nothing is pinned.
"""

import os
import platform
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

TICK = os.sysconf("SC_CLK_TCK")
KILOBYTE = 1024


def cores() -> tuple[int, int]:
    """The core for the server and the core for the load; the same one if there is but one."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return usable[0], usable[1 % len(usable)]


def pin(*to: int) -> None:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, to)


def described() -> str:
    """Processor, cores and kernel: no name of the machine, and nothing else of whose it is."""
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    kernel = re.match(r"[0-9.]+", platform.release())
    number = os.cpu_count() or 1
    return (
        f"{model[1].strip() if model else platform.machine()}, "
        f"{number} core{'s' if number > 1 else ''}, "
        f"{platform.system()} {kernel[0] if kernel else ''}"
    )


@contextmanager
def started(
    command: Sequence[str],
    *,
    core: int | tuple[int, ...],
    env: Mapping[str, str],
    pipes: bool = False,
    port: int | None = None,
    folder: Path | None = None,
) -> Generator[subprocess.Popen[bytes]]:
    """Run a server on one core until the block ends; with a port, enter once it listens.

    The server leads a process group of its own, so that its children end with it.
    """
    with tempfile.TemporaryFile() as errors:
        # Threads keep the cores of the process that made them, so the child must be born pinned.
        before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set[int]()
        pin(*(core if isinstance(core, tuple) else (core,)))
        # Nobody's servers run unbuffered or without compiled modules because this shell says so.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        try:
            process = subprocess.Popen(
                command,
                env={**inherited, **env},
                stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
                bufsize=0,
                cwd=folder,
            )
        finally:
            if before:
                os.sched_setaffinity(0, before)
        try:
            if port is not None:
                _until_listening(process, port)
            yield process
        finally:
            _end(process)
            errors.seek(0)
            said = errors.read().decode(errors="replace").splitlines()
            if process.returncode not in {0, -signal.SIGTERM, -signal.SIGKILL} and said:
                print("\n".join(["a server that failed said:", *said[-12:]]), file=sys.stderr)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def everyone() -> float:
    """Seconds of CPU that all processes have used so far, and what the host took from this machine.

    Summed over processes, those that ended included through their parents: what the kernel says of
    a core as a whole is sampled, and too coarse for a short run.
    """
    total = 0.0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                total += sum(map(int, fields[11:15]))
    first, _, _ = Path("/proc/stat").read_bytes().partition(b"\n")
    return (total + int(first.split()[8])) / TICK


def used(*pids: int) -> float:
    """Seconds of CPU used by processes and those they started."""
    return sum(_times(each) for each in {each for pid in pids for each in _family(pid)})


def alone(pid: int) -> float:
    """Seconds of CPU used by a process itself, without those it started that still run."""
    return _times(pid)


def crew(pid: int, number: int) -> list[int]:
    """The processes that serve for *pid*: those it started, once there are so many, or itself."""
    if number == 1 and len(_family(pid)) == 1:
        return [pid]
    until = time.monotonic() + 20
    while len(found := [each for each in _family(pid) if each != pid]) < number:
        if time.monotonic() > until:
            raise RuntimeError(f"{len(found)} of {number} workers have started")
        time.sleep(0.1)
    return sorted(found)


def resident(pid: int) -> float:
    """Megabytes held by a process and those it started."""
    return sum(_resident(each) for each in _family(pid))


def peak(pid: int) -> float:
    """The most megabytes that a process held, since `forget_peak`."""
    found = re.search(r"VmHWM:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) * KILOBYTE / 1e6 if found else 0.0


def forget_peak(pid: int) -> None:
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _times(pid: int) -> float:
    fields = _stat(pid)
    return sum(map(int, fields[11:15])) / TICK if fields else 0.0


def _resident(pid: int) -> float:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def _stat(pid: int) -> list[bytes]:
    """The fields after the name, which may itself hold spaces and parentheses."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return []


def _family(pid: int) -> list[int]:
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields:
                parents[int(entry.name)] = int(fields[1])
    family = [pid]
    for member in family:
        family.extend(child for child, parent in parents.items() if parent == member)
    return family


def _until_listening(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with {process.returncode} before it listened")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("the server did not listen within 60 seconds")


def _end(process: subprocess.Popen[Any]) -> None:
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, sign)
        except ProcessLookupError:
            break
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        break
    process.wait()
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
