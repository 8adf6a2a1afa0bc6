"""`interlock` alone says what to do next, by what is here."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import TIME, UNUSABLE, Run, Up, write_config

from interlock.gateway.config import load


def test_in_an_empty_folder_it_shows_a_file_to_begin_with(run: Run, folder: Path):
    done = run()
    assert done.code == 0
    assert "There is no .mcp.json here." in done.out
    assert "interlock up " in done.out
    begin, end = done.out.index('{"mcpServers"'), done.out.rindex("}}")
    (folder / ".mcp.json").write_text(done.out[begin : end + 2])
    assert list(load(folder / ".mcp.json", {}).servers) == ["time", "tasks"]
    assert "Servers in .mcp.json: time, tasks\n" in run().out


def test_with_servers_that_do_not_run_it_names_them_and_their_faults(run: Run, folder: Path):
    write_config(folder, time=TIME, old=UNUSABLE)
    done = run()
    assert "Servers in .mcp.json: time\n  ! mcpServers.old: Skipped" in done.out
    assert "No gateway runs here." in done.out
    assert "interlock up " in done.out


def test_beside_a_gateway_it_shows_how_to_use_it(run: Run, in_served: Up):
    done = run()
    assert f"They are served at {in_served.url} since" in done.out
    assert f"claude mcp add --transport http interlock {in_served.url}" in done.out


def test_a_file_that_cannot_be_read_is_exit_3(run: Run, folder: Path):
    (folder / ".mcp.json").write_text(json.dumps({"servers": {}}))
    done = run()
    assert done.code == 3
    assert '"mcpServers"' in done.err
