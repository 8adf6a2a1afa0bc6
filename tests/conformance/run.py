"""Run the official conformance suite against our fixture server and client, leg by leg.

    python tests/conformance/run.py                               every leg
    python tests/conformance/run.py --leg server-2026-07-28       one leg
    python tests/conformance/run.py --only caching --verbose      one scenario, in all detail

Ends with 0 when everything that must pass passes and nothing that was given up on passes unnoticed
(`expected.py` knows both). What the suite wrote stays under `tests/conformance/out`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from authorizing import authorize
from expected import NOT_YET, SUCCESSES

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent.parent
OUT = HERE / "out"
PEER = PROJECT / ".peers/node"
SUITE = "node_modules/@modelcontextprotocol/conformance/dist/index.js"

SERVERS = ("h1", "uvicorn", "hypercorn")
"""The HTTP servers that `tests/behind.py` knows."""
OWN = SERVERS[0]

# A run of all client scenarios starts some forty interpreters at once.
PATIENCE_MS = "60000"


@dataclass(frozen=True)
class Leg:
    """One side at one revision."""

    side: str
    revision: str
    whole: bool = False
    """Every scenario that can be driven at this revision, rather than those it requires."""
    extension: str = ""
    """Rather the scenarios of this extension, or of this kind, which no set of the suite's has: one
    by one those that are expected."""

    @property
    def name(self) -> str:
        which = f"{self.extension}-" if self.extension else "all-" if self.whole else ""
        return f"{self.side}-{which}{self.revision}"


LEGS = {
    leg.name: leg
    for leg in (
        Leg("server", "2025-11-25"),
        Leg("server", "2026-07-28"),
        Leg("server", "2025-03-26", whole=True),
        Leg("server", "2025-06-18", whole=True),
        Leg("server", "2025-11-25", whole=True),
        Leg("server", "2026-07-28", extension="skills"),
        Leg("client", "2025-11-25"),
        Leg("client", "2026-07-28"),
        Leg("client", "2026-07-28", extension="skills"),
        Leg("client", "2025-03-26", extension="backcompat"),
        Leg("authorization", "2025-11-25"),
        Leg("authorization", "2026-07-28"),
    )
}


@dataclass
class Scenario:
    """What one scenario found, by status, and what it said of what it did not like."""

    name: str
    counts: Counter[str] = field(default_factory=Counter[str])
    complaints: list[str] = field(default_factory=list[str])
    ended_well: bool = True
    """Whether the client under test exited as it should; its checks do not tell."""

    def passed(self, successes: int) -> bool:
        clean = not self.counts["FAILURE"] and not self.counts["WARNING"]
        return clean and self.ended_well and self.counts["SUCCESS"] == successes


@dataclass(frozen=True)
class Verdict:
    text: str
    fine: bool


def judge(leg: Leg, name: str, scenario: Scenario | None) -> Verdict:
    """Hold one scenario against what is expected of it."""
    successes = SUCCESSES[leg.name].get(name)
    reason = NOT_YET[leg.name].get(name)
    if scenario is None:
        return Verdict("did not run", fine=False)
    if successes is None:
        return Verdict("unknown: list it in expected.py", fine=False)
    if reason is not None:
        # A scenario that the suite only ever skips cannot come to pass.
        if successes and scenario.passed(successes):
            return Verdict("now passes: move it in expected.py", fine=False)
        return Verdict(f"not yet: {reason}", fine=True)
    if scenario.passed(successes):
        return Verdict("passes", fine=True)
    if not scenario.counts["FAILURE"] and not scenario.counts["WARNING"]:
        if not scenario.ended_well:
            return Verdict("FAILED: the client did not exit with 0", fine=False)
        return Verdict(f"FAILED: expected {successes} successes", fine=False)
    return Verdict("FAILED", fine=False)


def run_leg(leg: Leg, only: str | None, behind: str, *, verbose: bool) -> dict[str, Scenario]:
    """Run the scenarios of a leg; a client's that fail are run once more, each alone.

    All client scenarios start at once and some of them measure milliseconds.
    """
    folder = OUT / leg.name
    shutil.rmtree(folder, ignore_errors=True)
    if leg.side == "authorization":
        return authorization(leg, folder, behind, verbose=verbose)
    if leg.side == "server":
        with fixture_server(behind) as url:
            return scenarios(leg, only, folder, ["--url", url], verbose=verbose)
    command = (
        f"{os.path.relpath(sys.executable, PROJECT)} {(HERE / 'client.py').relative_to(PROJECT)}"
    )
    arguments = ["--command", command, "--timeout", PATIENCE_MS]
    found = scenarios(leg, only, folder, arguments, verbose=verbose)
    for name, due in SUCCESSES[leg.name].items() if only is None else ():
        failed = name in found and name not in NOT_YET[leg.name] and not found[name].passed(due)
        if failed:
            alone = folder / "alone" / name
            found |= suite(leg, name, alone, arguments, verbose=verbose)
    return found


def authorization(leg: Leg, folder: Path, behind: str, *, verbose: bool) -> dict[str, Scenario]:
    """Run the scenarios of an authorization server, which come together: one needs the other's find."""
    done = authorize(folder.relative_to(PROJECT), leg.revision, behind, verbose=verbose)
    if verbose:
        print(done.stdout)
    found = dict(read(leg, folder))
    if not found:
        print(f"the suite left no results; it said:\n{done.stdout[-3000:]}")
    for scenario in found.values():
        scenario.ended_well = not done.returncode
    return found


def scenarios(
    leg: Leg, only: str | None, folder: Path, arguments: list[str], *, verbose: bool
) -> dict[str, Scenario]:
    """Run what a leg consists of: a set of the suite's, or each of an extension's by its name."""
    if not leg.extension or only is not None:
        return suite(leg, only, folder, arguments, verbose=verbose)
    found: dict[str, Scenario] = {}
    for name in SUCCESSES[leg.name]:
        found |= suite(leg, name, folder / name, arguments, verbose=verbose)
    return found


def suite(
    leg: Leg, only: str | None, folder: Path, arguments: list[str], *, verbose: bool
) -> dict[str, Scenario]:
    """Run the suite once and read what it left behind."""
    which = ["--requirements", leg.revision]
    if leg.whole:
        which = ["--suite", "all", "--spec-version", leg.revision]
    if only is not None:
        # Forced, or scenarios of extensions are left out: they belong to no revision.
        which = ["--scenario", only, "--spec-version", leg.revision, "--force"]
    command = [str(PEER / "bin/node"), str(PEER / SUITE), leg.side, *arguments, *which]
    command += ["--output-dir", str(folder.relative_to(PROJECT))]
    if verbose and only is not None:
        command.append("--verbose")
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "suite.log"
    with log.open("w") as output:
        done = subprocess.run(
            command, cwd=PROJECT, stdout=output, stderr=subprocess.STDOUT, timeout=900, check=False
        )
    said = log.read_text(errors="replace")
    if verbose:
        print(said)
    found = dict(read(leg, folder))
    if not found:
        print(f"the suite left no results; it said:\n{said[-3000:]}")
    for name, scenario in found.items():
        # Of several scenarios the summary tells, of a single one the exit code.
        scenario.ended_well = f"\u2717 {name}:" not in said if only is None else not done.returncode
    return found


def read(leg: Leg, folder: Path) -> Iterator[tuple[str, Scenario]]:
    for path in sorted(folder.rglob("checks.json")):
        relative = path.parent.relative_to(folder).as_posix()
        if relative.startswith("alone/"):
            continue
        name = re.sub(r"-\d{4}-\d\d-\d\dT[\d-]+Z$", "", relative)
        if leg.side != "client":
            # Before the name stands the side, or for an authorization server both words.
            name = re.sub(r"^(authorization-)?server-", "", name)
        scenario = Scenario(name)
        checks: list[dict[str, Any]] = json.loads(path.read_text())
        for check in checks:
            status = str(check["status"])
            scenario.counts[status] += 1
            if status in {"FAILURE", "WARNING"}:
                message = check.get("errorMessage") or json.dumps(check.get("details"))
                scenario.complaints.append(f"{status} {check['id']}: {message}")
        yield name, scenario


def servers_for(leg: Leg) -> tuple[str, ...]:
    """What the endpoint is put behind, one after the other, where nobody says it."""
    return (OWN,) if leg.side == "client" else SERVERS


@contextmanager
def fixture_server(behind: str) -> Generator[str]:
    """Our server under test, on a free port of the loopback, until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "tests.behind", behind),
                *(f"{HERE / 'server.py'}:server", "--port", str(port)),
            ],
            cwd=PROJECT,
            stderr=errors,
            start_new_session=True,
        )
        try:
            until_listening(process, port, errors)
            yield f"http://127.0.0.1:{port}/mcp"
            if process.poll() is not None:
                print(f"the fixture server ended in the middle of a leg:\n{tail(errors)}")
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def until_listening(process: subprocess.Popen[bytes], port: int, errors: IO[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    sys.exit(f"the fixture server did not listen on port {port}; it said:\n{tail(errors)}")


def tail(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read().decode(errors="replace")[-4000:]


def report(leg: Leg, only: str | None, found: dict[str, Scenario], *, verbose: bool) -> int:
    """Print the table of a leg; the number of scenarios that are not as expected."""
    names = sorted({*SUCCESSES[leg.name], *found}) if only is None else sorted(found)
    width = max(map(len, names), default=0)
    print(f"{leg.name:<{width}}  success  failure  warning  skipped")
    wrong = 0
    for name in names:
        scenario = found.get(name)
        verdict = judge(leg, name, scenario)
        counts = scenario.counts if scenario else Counter[str]()
        cells = [
            f"{counts[status] or '-':>{len(status)}}"
            for status in ("SUCCESS", "FAILURE", "WARNING", "SKIPPED")
        ]
        print(f"{name:<{width}}  {'  '.join(cells)}  {verdict.text}")
        wrong += not verdict.fine
        if scenario and (verbose or not verdict.fine):
            for complaint in scenario.complaints:
                print(f"    {complaint if verbose else complaint[:400]}")
    missing = sum(name in NOT_YET[leg.name] for name in names)
    print(f"{len(names)} scenarios, {missing} not yet, {wrong} not as expected\n", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--leg", nargs="+", choices=LEGS, default=list(LEGS), metavar="LEG")
    parser.add_argument("--only", metavar="SCENARIO", help="run this one, in the legs that have it")
    parser.add_argument("--verbose", action="store_true", help="print all that the suite says")
    which = "HTTP servers to put the endpoint behind (default: ours and two of others)"
    parser.add_argument("--behind", nargs="+", choices=SERVERS, metavar="SERVER", help=which)
    options = parser.parse_args()
    if not (PEER / SUITE).exists():
        sys.exit("expected the suite under .peers/node, found none; `make conformance` installs it")

    only: str | None = options.only
    legs = [LEGS[name] for name in options.leg if only is None or only in SUCCESSES[name]]
    if not legs:
        sys.exit(f"no leg of {', '.join(options.leg)} has a scenario {only!r}")
    wrong: dict[str, int] = {}
    for leg in legs:
        for behind in options.behind or servers_for(leg):
            found = run_leg(leg, only, behind, verbose=options.verbose)
            name = leg.name if behind == OWN else f"{leg.name} behind {behind}"
            if behind != OWN:
                print(f"behind {behind}:")
            wrong[name] = report(leg, only, found, verbose=options.verbose)
    faulty = {name: count for name, count in wrong.items() if count}
    if faulty:
        print("not as expected: " + ", ".join(f"{name} {count}" for name, count in faulty.items()))
        return 1
    print(f"as expected: {', '.join(wrong)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
