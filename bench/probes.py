"""Processes that measure: started once, pinned, and told what to do, one JSON object a line."""

import json
import select
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

STUCK = 180
HERE = Path(__file__).resolve().parent


def serve(work: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Do what stdin says until it ends; what fails is answered as such."""
    for line in sys.stdin:
        try:
            answer = work(json.loads(line))
        except Exception as failure:
            answer = {"failed": f"{type(failure).__name__}: {failure}"}
        print(json.dumps(answer), flush=True)


class Probe:
    """One such process, seen from the program that tells it what to do."""

    def __init__(self, program: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, spec: dict[str, Any]) -> dict[str, Any]:
        """Its answer. Raises `RuntimeError` with its complaint."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(spec) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], STUCK)[0]:
            # It waits for a server that says nothing: what else it was to ask fails at once.
            self._process.kill()
            raise RuntimeError(f"no figures came for {STUCK} seconds")
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the measuring process ended")
        answer = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
