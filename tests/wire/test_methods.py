"""The table of methods against the official schemas: what each revision has, and who answers it."""

from __future__ import annotations

import msgspec
import pytest
from tests.official import schema

from interlock.wire.meta import CacheableResult
from interlock.wire.methods import BY_NAME, ROWS, TO_CLIENT, TO_SERVER, Method
from interlock.wire.versions import ALL, LEGACY, MODERN, Revision

TASKS = {"tasks/get", "tasks/result", "tasks/cancel", "tasks/list"}
"""What clients of 2025-11-25 that run tasks of their own may be asked: ours never do."""


def declared(revision: Revision, union: str) -> set[str]:
    """The methods that the official schema lists in *union*."""
    whole = schema(revision.name)
    definitions = whole.get("$defs") or whole["definitions"]
    if union not in definitions:
        return set()
    found: set[str] = set()
    for option in definitions[union].get("anyOf", []):
        definition = definitions[option["$ref"].rpartition("/")[2]]
        found.add(definition["properties"]["method"]["const"])
    return found


@pytest.mark.parametrize("revision", ALL, ids=str)
def test_a_server_answers_what_the_revision_s_clients_may_ask(revision: Revision):
    assert set(TO_SERVER[revision.name]) == declared(revision, "ClientRequest")


@pytest.mark.parametrize("revision", ALL, ids=str)
def test_a_client_answers_what_the_revision_s_servers_may_ask(revision: Revision):
    assert set(TO_CLIENT[revision.name]) == declared(revision, "ServerRequest") - TASKS


def test_there_is_one_row_a_method():
    assert len(BY_NAME) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_s_columns_fit_its_types(row: Method):
    assert row.since <= row.last
    assert row.cacheable == issubclass(row.result, CacheableResult)
    fields = {field.encode_name: field for field in msgspec.structs.fields(row.params)}
    if row.mirrored is not None:
        assert row.mirrored_member is not None
        assert fields[row.mirrored_member].name == row.mirrored
        assert fields[row.mirrored_member].type is str
        assert fields[row.mirrored_member].required
    if row.may_ask:
        assert {"inputResponses", "requestState"} <= set(fields)


def test_what_modern_clients_may_keep_is_what_the_spec_lists():
    assert {row.name for row in ROWS if row.cacheable} == {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
        "skills/list",
        "skills/get",
    }
    assert {row.name for row in ROWS if row.may_ask} == {
        "tools/call",
        "prompts/get",
        "resources/read",
    }


def test_the_eras_have_no_handshake_and_no_discovery_in_common():
    for name in LEGACY:
        assert "initialize" in TO_SERVER[name]
        assert not {"server/discover", "subscriptions/listen"} & set(TO_SERVER[name])
    for name in MODERN:
        assert not {"initialize", "ping", "logging/setLevel"} & set(TO_SERVER[name])
        assert TO_CLIENT[name] == {}
