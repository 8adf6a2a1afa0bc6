"""What time it is somewhere, and what a time there is elsewhere.

The tools of the `mcp-server-time` that many are used to, under the same names.
"""

from __future__ import annotations

import argparse
import difflib
import os
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Annotated, Final, TypeAlias
from zoneinfo import ZoneInfo, available_timezones

from interlock import Server, ToolError, run
from interlock.version import VERSION
from interlock.wire.tools import ToolAnnotations

server = Server(
    "time",
    version=VERSION,
    instructions="Time zones are IANA names, such as Europe/Oslo; left out, it is the local one.",
)

LOOKS_ONLY: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)

Zone: TypeAlias = Annotated[str, "IANA name, such as Europe/Oslo; left out: the local time zone"]


@dataclass
class Moment:
    timezone: str
    datetime: str
    day_of_week: str
    is_dst: bool


@dataclass
class Conversion:
    source: Moment
    target: Moment
    time_difference: str


# These tools wait for nothing, so they are async: a sync one would get a thread of its own.


@server.tool(annotations=LOOKS_ONLY)
async def get_current_time(timezone: Zone = "") -> Moment:
    """Get the current time in a time zone."""
    name = timezone or local_zone()
    return moment(name, datetime.now(zone(name)))


@server.tool(annotations=LOOKS_ONLY)
async def convert_time(
    time: Annotated[str, "Time of day on a 24-hour clock, such as 14:30"],
    source_timezone: Zone = "",
    target_timezone: Zone = "",
) -> Conversion:
    """Convert a time of today from one time zone to another."""
    source = source_timezone or local_zone()
    target = target_timezone or local_zone()
    return convert(time, source, target, datetime.now(zone(source)).date())


def convert(time: str, source: str, target: str, day: date) -> Conversion:
    try:
        clock = datetime.strptime(time, "%H:%M").time()  # noqa: DTZ007  its zone comes next
    except ValueError:
        raise ToolError(
            f"time must be HH:MM on a 24-hour clock, such as 14:30; got {time!r}"
        ) from None
    there = datetime.combine(day, clock, zone(source))
    # Where clocks go forward some times of day never happen; they do not survive the way to UTC.
    if there.astimezone(UTC).astimezone(there.tzinfo).time() != clock:
        raise ToolError(f"{time} does not happen in {source} on {day}: clocks skip it")
    here = there.astimezone(zone(target))
    ahead = (here.utcoffset() or timedelta()) - (there.utcoffset() or timedelta())
    hours = f"{ahead / timedelta(hours=1):+.2f}".removesuffix("0")
    return Conversion(moment(source, there), moment(target, here), f"{hours}h")


def moment(name: str, at: datetime) -> Moment:
    return Moment(
        timezone=name,
        datetime=at.isoformat(timespec="seconds"),
        day_of_week=at.strftime("%A"),
        is_dst=bool(at.dst()),
    )


def zone(name: str) -> ZoneInfo:
    known = zones()
    # Not by trying: a file system that ignores case finds "europe/oslo" too.
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ToolError(f"There is no time zone {name!r}{hint}")
    return ZoneInfo(name)


@cache
def zones() -> frozenset[str]:
    """Every IANA name this machine knows, read once: it is a walk over hundreds of files."""
    return frozenset(available_timezones())


def local_zone() -> str:
    """The zone of this machine by its IANA name: TZ, else what /etc/localtime links to, else UTC."""
    candidates = [os.environ.get("TZ", "").removeprefix(":")]
    path = Path("/etc/localtime").resolve().as_posix()
    candidates.append(path.partition("/zoneinfo/")[2])
    return next((name for name in candidates if name in zones()), "UTC")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m interlock.reference.time", description=__doc__)
    parser.add_argument("--local-timezone", metavar="ZONE", help="what counts as local here")
    options = parser.parse_args()
    if options.local_timezone:
        try:
            zone(options.local_timezone)
        except ToolError as error:
            parser.error(str(error))
        os.environ["TZ"] = options.local_timezone
    run(server)


if __name__ == "__main__":
    main()
