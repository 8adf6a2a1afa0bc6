"""The time server, as a client sees it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from datetime import date, datetime

import pytest

from interlock import Client, ToolError
from interlock.reference.time import convert, local_zone, server


@pytest.fixture
async def client() -> AsyncGenerator[Client]:
    async with Client(server) as client:
        yield client


async def test_its_tools_and_their_arguments_are_those_of_mcp_server_time(client: Client):
    tools = {tool.name: tool for tool in await client.list_tools()}
    assert list(tools) == ["get_current_time", "convert_time"]
    assert list(tools["get_current_time"].input_schema["properties"]) == ["timezone"]
    assert set(tools["convert_time"].input_schema["properties"]) == {
        "source_timezone",
        "time",
        "target_timezone",
    }


async def test_the_current_time_is_that_of_the_zone(client: Client):
    result = await client.call_tool("get_current_time", {"timezone": "Asia/Kathmandu"})
    assert set(result.structured) == {"timezone", "datetime", "day_of_week", "is_dst"}
    assert result.structured["timezone"] == "Asia/Kathmandu"
    assert result.structured["is_dst"] is False
    told = datetime.fromisoformat(result.structured["datetime"])
    assert str(told.utcoffset()) == "5:45:00"
    assert abs((datetime.now(told.tzinfo) - told).total_seconds()) < 60


async def test_the_zone_left_out_is_the_local_one(client: Client, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    result = await client.call_tool("get_current_time")
    assert result.structured["timezone"] == "Asia/Tokyo"


async def test_a_time_is_converted_with_both_ends_and_the_difference(client: Client):
    arguments = {
        "source_timezone": "Etc/UTC",
        "time": "12:00",
        "target_timezone": "Asia/Tokyo",
    }
    result = await client.call_tool("convert_time", arguments)
    assert set(result.structured) == {"source", "target", "time_difference"}
    assert result.structured["target"]["datetime"].endswith("T21:00:00+09:00")
    assert result.structured["time_difference"] == "+9.0h"


async def test_a_zone_that_does_not_exist_is_refused_with_a_likely_one(client: Client):
    result = await client.call_tool("get_current_time", {"timezone": "Europe/Olso"})
    assert result.is_error
    assert result.text == "There is no time zone 'Europe/Olso'; did you mean Europe/Oslo?"


@pytest.mark.parametrize("name", ["europe/oslo", "../../etc/passwd", "Europe", "\0"])
async def test_only_a_name_as_it_is_written_is_a_zone(client: Client, name: str):
    result = await client.call_tool("get_current_time", {"timezone": name})
    assert result.is_error
    assert result.text.startswith("There is no time zone")


@pytest.mark.parametrize("time", ["9pm", "24:00", "", "12:60", "12:00:00"])
async def test_a_time_that_is_none_is_refused_by_example(client: Client, time: str):
    result = await client.call_tool("convert_time", {"time": time})
    assert result.is_error
    assert "such as 14:30" in result.text


def test_differences_of_half_and_quarter_hours_are_told_exactly():
    there = convert("12:00", "Etc/UTC", "Asia/Kathmandu", date(2026, 1, 1))
    assert there.time_difference == "+5.75h"
    assert convert("12:00", "Asia/Kolkata", "Etc/UTC", date(2026, 1, 1)).time_difference == "-5.5h"


def test_a_time_that_clocks_skip_is_refused():
    with pytest.raises(ToolError, match="02:30 does not happen in Europe/Oslo on 2026-03-29"):
        convert("02:30", "Europe/Oslo", "Etc/UTC", date(2026, 3, 29))


def test_summer_time_counts_on_the_day_that_is_meant():
    assert convert("12:00", "Etc/UTC", "Europe/Oslo", date(2026, 7, 1)).time_difference == "+2.0h"
    assert convert("12:00", "Etc/UTC", "Europe/Oslo", date(2026, 1, 1)).time_difference == "+1.0h"


def test_a_local_zone_that_does_not_exist_is_passed_over(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Nowhere/Nothing")
    assert local_zone() != "Nowhere/Nothing"


async def test_it_runs_as_a_module_with_a_local_zone():
    module = ["-m", "interlock.reference.time", "--local-timezone", "Asia/Tokyo"]
    async with Client([sys.executable, *module]) as client:
        result = await client.call_tool("get_current_time")
        assert result.structured["timezone"] == "Asia/Tokyo"


def test_a_wrong_local_zone_is_refused_before_it_serves():
    module = ["-m", "interlock.reference.time", "--local-timezone", "Mars"]
    done = subprocess.run([sys.executable, *module], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "There is no time zone 'Mars'" in done.stderr
