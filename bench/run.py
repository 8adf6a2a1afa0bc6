"""Measure Interlock beside its peers, in one run on this machine, and print how they compare.

    python bench/run.py                           everything, at most half an hour; writes docs/
    python bench/run.py --quick                   a short look at everything, noisy; writes docs/
    python bench/run.py --only http echo          one section, one question, all servers
    python bench/run.py --only interlock mcp      two servers, everything

The server runs on one core and the load on another, so a figure is for one core.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import growth
import machine
import profiles
import report
import sections
import targets as known
from questions import ERAS, QUESTIONS
from runs import LATE, Plan
from targets import Target, targets

SECTIONS = (
    *("http", "stdio", "cold", "clients", "gateway", "upstreams"),
    *("workers", "older", "growth", "profile"),
)
UPSTREAMS = (1, 10, 30, 100)
OUT = known.HERE / "out"
DOCS = known.PROJECT / "docs"


def plan(options: argparse.Namespace, everything: list[Target]) -> Plan:
    words: set[str] = set(options.only or ())

    def chosen(names: list[str]) -> list[str]:
        """The names that were asked for; all of them if none of this kind was."""
        return [name for name in names if name in words] or names

    kinds = [
        list(SECTIONS),
        list(QUESTIONS),
        list(ERAS),
        [target.key for target in everything],
        ["c1", "c32"],
    ]
    unknown = words - {name for kind in kinds for name in kind}
    if unknown:
        offered = "; ".join(", ".join(kind) for kind in kinds)
        sys.exit(f"--only does not know {', '.join(sorted(unknown))}; it knows {offered}")
    names, questions, eras, keys, connections = map(chosen, kinds)
    return Plan(
        quick=options.quick,
        sections=names,
        questions=questions,
        eras=eras,
        keys=keys,
        connections=[int(name[1:]) for name in connections],
        failures=[],
    )


def measured(what: Plan, servers: list[Target], home: Path) -> dict[str, Any]:
    """The rows of each section that is wanted; one that breaks does not take the others along."""
    ways: dict[str, Callable[[], Any]] = {
        "http": lambda: sections.http(what, servers),
        "stdio": lambda: sections.stdio(what, servers),
        "cold": lambda: sections.cold(what, servers),
        "clients": lambda: sections.clients(what, servers),
        "gateway": lambda: sections.gateway(what, servers, home),
        "upstreams": lambda: sections.upstreams(what, servers, UPSTREAMS),
        "workers": lambda: sections.workers(what, servers),
        "older": lambda: sections.older(what),
        "growth": lambda: growth.curves(what, servers),
        "profile": lambda: profiles.profiles(what, servers),
    }
    found: dict[str, Any] = {}
    ours = any(target.key == "interlock" for target in servers)
    for name in what.sections:
        if not ours and name not in {"http", "stdio", "cold", "older"}:
            continue
        began = time.monotonic()
        try:
            found[name] = ways[name]()
        except (RuntimeError, OSError) as failure:
            what.failures.append(f"section {name}: {failure}")
        print(f"section {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return found


def head(what: Plan, versions: dict[str, str]) -> list[str]:
    """What the document opens with: command, machine, versions, and how runs were made."""
    minutes = (time.monotonic() - what.began) / 60
    server_core, load_core = machine.cores()
    cores = (
        "The server runs on one core and the load on another, so a figure is for one core."
        if server_core != load_core
        else "There is one core: server and load share it."
    )
    command = "make bench QUICK=1" if what.quick else "make bench"
    lengths = (
        "One run of each figure, a fifth of a second long."
        if what.quick
        else "Each figure is the median of five runs of half a second (curves: a third), taken in turn with those of "
        "the others; runs in which others used more than a tenth of a core were done again, at "
        "most three times each and not after twelve minutes, and the least disturbed five count."
    )
    if minutes > LATE / 60 and not what.quick:
        lengths += f" What came after minute {LATE // 60} was run three times."
    missing = "" if known.compiled(Path()) else " The compiled peers do not run on this machine."
    return [
        f"- Command: `{command}` ({minutes:.0f} minutes)",
        f"- Machine: {machine.described()}",
        "- "
        + ", ".join(f"{name} {version}" for name, version in versions.items() if name != "older"),
        (
            f"- {cores} {lengths} Answers are checked whole before and after each run, and by id, "
            f"status and length during it.{missing}"
        ),
        (
            "- Peers run as their users would run them in production: JSON answers, sessions for legacy "
            "clients, uvicorn with uvloop and httptools for those in Python, warnings only.\n"
        ),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="short runs, none repeated")
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="WORD",
        help="sections, servers, questions, eras (modern, legacy), connections (c1, c32)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every figure there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        everything = targets(Path(home))
        what = plan(options, everything)
        servers = [target for target in everything if what.wants(target.key)]
        found = measured(what, servers, Path(home))
    versions = known.versions()
    if found.get("older"):
        versions["older"] = known.cpython(str(known.PEERS / f"mcp2-{known.OLDER}/bin/python"))
    opening = head(what, versions)
    chapters = report.chapters(found, versions)
    print(report.text("\n".join(opening), chapters))
    OUT.mkdir(exist_ok=True)
    for file in filter(None, (OUT / "figures.json", options.json)):
        file.write_text(json.dumps({"head": opening, **found}, indent=1))
    if not options.only:
        report.write(DOCS, report.document(opening, chapters, quick=what.quick), chapters)
    for failure in what.failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if what.failures else 0


if __name__ == "__main__":
    sys.exit(main())
