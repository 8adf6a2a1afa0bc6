"""Run our server, or our gateway, under a profiler that signals turn on and off.

    profiled.py FILE serve ARGUMENT...       what bench/servers/ours.py does with the arguments
    profiled.py FILE interlock ARGUMENT...   what the command does with them

SIGUSR1 turns the profiler on; SIGUSR2 turns it off, writes FILE, and puts an empty file FILE.done
beside it.
"""

import cProfile
import signal
import sys
from pathlib import Path
from types import FrameType

PROFILE = cProfile.Profile()


def begin(number: int, frame: FrameType | None) -> None:
    PROFILE.enable()


def end(number: int, frame: FrameType | None) -> None:
    PROFILE.disable()
    PROFILE.dump_stats(sys.argv[0])
    Path(f"{sys.argv[0]}.done").touch()


def main() -> None:
    _, file, what, *arguments = sys.argv
    sys.argv = [file, *arguments]
    signal.signal(signal.SIGUSR1, begin)
    signal.signal(signal.SIGUSR2, end)
    if what == "serve":
        import ours

        ours.main()
    else:
        from interlock.cli.main import main as command

        command()


main()
