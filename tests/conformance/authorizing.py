"""Run the suite's authorization server scenarios against our issuer, and be the person they need.

    python tests/conformance/authorizing.py [--verbose]

The suite prints an address for somebody to open; that is done here as a browser without JavaScript
would: fetch the page, fill in its form, follow where it leads. `authorize` is what a leg calls.
"""

from __future__ import annotations

import argparse
import http.client
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlencode, urljoin, urlsplit

from issuer import CLIENT, RESOURCE, SIGN_IN

HERE: Final = Path(__file__).resolve().parent
PROJECT: Final = HERE.parent.parent
PEER: Final = PROJECT / ".peers/node"
SUITE: Final = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
SCENARIOS: Final = ("authorization-server-metadata-endpoint", "authorization-code-grant")
SECONDS: Final = 60.0


def authorize(
    folder: Path, revision: str, behind: str = "h1", *, verbose: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run both scenarios at *revision*, with the issuer *behind* an HTTP server.

    What they found is then under *folder*, as the suite leaves it (`**/checks.json`), and what it
    said in *folder*/suite.log.
    """
    port, callback = free_port(), free_port()
    command = [str(PEER / "bin/node"), str(PEER / SUITE), "authorization"]
    command += ["--url", f"http://127.0.0.1:{port}", "--client-id", CLIENT]
    command += ["--resource", RESOURCE, "--port", str(callback)]
    command += ["--spec-version", revision, "--output-dir", str(folder)]
    if verbose:
        command.append("--verbose")
    folder.mkdir(parents=True, exist_ok=True)
    with issuing(port, callback, behind):
        suite = subprocess.Popen(
            command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        late = threading.Timer(SECONDS, suite.kill)
        late.start()
        try:
            said, url, awaited = b"", "", False
            assert suite.stdout is not None
            for line in suite.stdout:
                said += line
                if re.match(rb"http://127\.0\.0\.1:\d+/authorize\?", line):
                    url = line.decode().strip()
                awaited |= line.startswith(b"Callback server started")
                # It prints the address before it listens for what comes back.
                if url and awaited:
                    visit(url)
                    url = ""
            code = suite.wait()
        finally:
            late.cancel()
            if suite.poll() is None:
                suite.kill()
                suite.wait()
    (folder / "suite.log").write_bytes(said)
    return subprocess.CompletedProcess(command, code, said.decode(errors="replace"))


class Forms(HTMLParser):
    """The one form of a page: where it goes, and what it holds."""

    def __init__(self) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.asks: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.action = found.get("action", "")
        elif tag == "input" and found.get("type") == "hidden":
            self.fields[found["name"]] = found.get("value", "")
        elif tag == "input":
            self.asks.append(found["name"])


def visit(url: str) -> None:
    """Open *url* as a person would: sign in, allow, and let the browser follow."""
    status, headers, page = load("GET", url)
    if status != 200:
        sys.exit(f"expected a page at the authorization endpoint, found {status}:\n{page}")
    form = Forms()
    form.feed(page)
    fields = {**form.fields, **dict.fromkeys(form.asks, SIGN_IN), "choice": "allow"}
    cookie = "; ".join(
        value.partition(";")[0] for name, value in headers if name.lower() == "set-cookie"
    )
    status, headers, page = load("POST", urljoin(url, form.action), fields, cookie)
    places = [value for name, value in headers if name.lower() == "location"]
    if status != 303 or not places:
        sys.exit(f"expected to be sent back to the client, found {status}:\n{page}")
    load("GET", places[0])


def load(
    method: str, url: str, form: dict[str, str] | None = None, cookie: str = ""
) -> tuple[int, list[tuple[str, str]], str]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    headers = {"cookie": cookie} if cookie else {}
    if form is not None:
        headers["content-type"] = "application/x-www-form-urlencoded"
    try:
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        connection.request(method, path, urlencode(form) if form else None, headers)
        response = connection.getresponse()
        return response.status, response.getheaders(), response.read().decode()
    finally:
        connection.close()


@contextmanager
def issuing(port: int, callback: int, behind: str) -> Generator[None]:
    """Our issuer behind an HTTP server, until the block ends."""
    command = [sys.executable, "-m", "tests.conformance.issuer", "--port", str(port)]
    command += ["--callback", str(callback), "--behind", behind]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, cwd=PROJECT, stderr=errors)
        try:
            until_listening(process, port, errors)
            yield
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def until_listening(process: subprocess.Popen[bytes], port: int, errors: IO[bytes]) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    errors.seek(0)
    sys.exit(
        f"the issuer did not listen on port {port}; it said:\n{errors.read().decode()[-4000:]}"
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--revision", default="2026-07-28")
    parser.add_argument("--verbose", action="store_true", help="print all that the suite says")
    options = parser.parse_args()
    folder = HERE / "out" / f"authorization-{options.revision}"
    shutil.rmtree(folder, ignore_errors=True)
    done = authorize(folder, options.revision, verbose=options.verbose)
    print(done.stdout)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
