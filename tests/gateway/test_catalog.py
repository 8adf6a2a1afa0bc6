"""The catalog: verbatim definitions under public names, and where each name leads."""

from __future__ import annotations

import cProfile
import gc
import pstats
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from interlock.errors import ConfigError
from interlock.gateway.catalog import Catalog, Definitions, Found
from interlock.wire.notices import Kind
from interlock.wire.parameters import Mirrored


def entries(*items: dict[str, Any]) -> list[dict[str, Raw]]:
    return [msgspec.json.decode(msgspec.json.encode(item), type=dict[str, Raw]) for item in items]


def listed(catalog: Catalog, kind: str, *, modern: bool = True) -> dict[str, Any]:
    return msgspec.json.decode(catalog.page(kind, modern=modern).body)


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def test_a_definition_keeps_everything_but_its_name() -> None:
    """JSON Schema is passed through verbatim, unknown keywords included (checklist TL-07)."""
    catalog = Catalog(["a"])
    schema = {"type": "object", "$defs": {"x": {"$anchor": "y"}}, "if": {}, "future": [1, None]}
    definition = tool("t", inputSchema=schema, outputSchema={"$ref": "#/$defs/q"}, later={"k": 1})
    catalog.update("a", Definitions(tools=entries(definition)))
    assert listed(catalog, "tools")["tools"] == [{**definition, "name": "a__t"}]


def test_servers_are_listed_in_the_order_of_the_configuration() -> None:
    catalog = Catalog(["b", "a"])
    catalog.update("a", Definitions(tools=entries(tool("one"))))
    catalog.update("b", Definitions(tools=entries(tool("two"))))
    assert [t["name"] for t in listed(catalog, "tools")["tools"]] == ["b__two", "a__one"]


def test_a_name_leads_to_its_server_and_its_name_there() -> None:
    catalog = Catalog(["a", "b"])
    catalog.update("a", Definitions(tools=entries(tool("same")), prompts=entries({"name": "p"})))
    catalog.update("b", Definitions(tools=entries(tool("same"))))
    assert catalog.tool("a__same") == Found("a", "same")
    assert catalog.tool("b__same") == Found("b", "same")
    assert catalog.tool("same") is None
    assert catalog.prompt("a__p") == Found("a", "p")
    assert catalog.prompt("a__same") is None


@pytest.mark.parametrize(
    ("meta", "public"),
    [
        (
            {"ui": {"resourceUri": "ui://x", "visibility": ["app"]}, "k": 1},
            {"ui": {"resourceUri": "ui://a+x", "visibility": ["app"]}, "k": 1},
        ),
        ({"ui/resourceUri": "ui://x"}, {"ui/resourceUri": "ui://a+x"}),
        ({"ui": {"resourceUri": "https://x"}}, {"ui": {"resourceUri": "https://x"}}),
        ({"ui": "ui://x"}, {"ui": "ui://x"}),
        ([1], [1]),
    ],
)
def test_a_tool_is_shown_by_its_page_as_the_gateway_calls_it(meta: Any, public: Any) -> None:
    """Pages of two servers may have one URI; both are found by their public ones (MCP Apps)."""
    catalog = Catalog(["a", "b"])
    catalog.update("a", Definitions(tools=entries(tool("t", _meta=meta))))
    assert listed(catalog, "tools")["tools"][0]["_meta"] == public
    assert catalog.uri("ui://a+x") == Found("a", "ui://x")
    assert catalog.uri("ui://B+x") == Found("b", "ui://x")
    assert catalog.uri("ui://x") is None


def test_a_tool_says_what_its_callers_mirror_in_headers() -> None:
    """A gateway validates inbound `Mcp-Param-*` headers for its tools (checklist GW-04)."""
    catalog = Catalog(["a"])
    region = {"type": "string", "x-mcp-header": "Region"}
    good = tool("good", inputSchema={"type": "object", "properties": {"region": region}})
    bad = tool("bad", inputSchema={"type": "object", "items": region})
    catalog.update("a", Definitions(tools=entries(good, bad, tool("odd", inputSchema=7))))
    mirrored = (Mirrored("Mcp-Param-Region", ("region",), "string"),)
    assert catalog.tool("a__good") == Found("a", "good", mirrored)
    assert catalog.tool("a__bad") == Found("a", "bad")
    assert catalog.tool("a__odd") == Found("a", "odd")


def test_an_update_says_which_lists_changed() -> None:
    catalog = Catalog(["a"])
    first = Definitions(tools=entries(tool("t")), resources=entries({"uri": "x://1", "name": "1"}))
    assert catalog.update("a", first) == {"tools", "resources"}
    assert catalog.update("a", first) == set()
    assert catalog.update("a", Definitions(tools=entries(tool("t")))) == {"resources"}
    assert catalog.update("a", Definitions()) == {"tools"}
    assert listed(catalog, "tools")["tools"] == []


def calls_of(work: Callable[[], object]) -> int:
    """Function calls that *work* takes: exact, where time is not."""
    profile = cProfile.Profile()
    gc.disable()  # A collection in between would call what others registered with it.
    try:
        profile.enable()
        work()
        profile.disable()
    finally:
        gc.enable()
    return vars(pstats.Stats(profile))["total_calls"]


def of_many(servers: int) -> Catalog:
    """A catalog of *servers* that each list fifty tools and fifty resources."""
    catalog = Catalog(f"s{number}" for number in range(servers))
    for number in range(servers):
        catalog.update(f"s{number}", fifty(number))
    return catalog


def fifty(number: int, **more: Any) -> Definitions:
    tools = entries(*(tool(f"t{each}", **more) for each in range(50)))
    uris = [f"x://{number}/{each}" for each in range(50)]
    return Definitions(tools=tools, resources=entries(*({"uri": uri, **more} for uri in uris)))


def test_a_change_of_one_server_costs_the_same_however_many_others_there_are() -> None:
    few, many = of_many(1), of_many(100)
    changed = fifty(0, title="changed")
    assert calls_of(lambda: few.update("s0", changed)) == calls_of(
        lambda: many.update("s0", changed)
    )
    entry = listed(many, "tools")["tools"][0]
    assert (entry["name"], entry["title"]) == ("s0__t0", "changed")
    assert many.uri("x://0/7") == Found("s0", "x://0/7")


def test_a_list_that_did_not_change_is_not_looked_at_again() -> None:
    catalog = of_many(1)
    first = fifty(0)
    catalog.update("s0", first)
    resources = entries({"uri": "x://new"})
    whole = calls_of(lambda: catalog.update("s0", fifty(0, title="changed")))
    catalog.update("s0", first)
    part = msgspec.structs.replace(first, resources=resources)
    found: list[set[Kind]] = []
    assert calls_of(lambda: found.append(catalog.update("s0", part))) < whole / 10
    assert found == [{"resources"}]
    assert catalog.uri("x://new") == Found("s0", "x://new")
    assert catalog.uri("x://0/0") is None
    assert len(listed(catalog, "tools")["tools"]) == 50


def test_a_list_after_a_change_is_joined_from_what_the_servers_were_encoded_to() -> None:
    few, many = of_many(10), of_many(100)
    cost = [calls_of(lambda each=each: each.page("tools", modern=True)) for each in (few, many)]
    assert cost[1] - cost[0] <= 2 * 90
    assert len(listed(many, "tools")["tools"]) == 5000


def test_a_tool_whose_schema_spells_the_word_otherwise_is_mirrored_too() -> None:
    """JSON has several ways to write a string, and a header must be held all the same."""
    catalog = Catalog(["a"])
    schema = rb'{"type":"object","properties":{"r":{"type":"string","x-mcp-h\u0065ader":"R"}}}'
    catalog.update("a", Definitions(tools=[{"name": Raw(b'"t"'), "inputSchema": Raw(schema)}]))
    assert catalog.tool("a__t") == Found("a", "t", (Mirrored("Mcp-Param-R", ("r",), "string"),))


def test_a_list_is_encoded_once_until_it_changes() -> None:
    catalog = Catalog(["a"])
    catalog.update("a", Definitions(tools=entries(tool("t"))))
    page = catalog.page("tools", modern=True)
    assert catalog.page("tools", modern=True) is page
    catalog.update("a", Definitions(tools=entries(tool("u"))))
    assert catalog.page("tools", modern=True) is not page


def test_only_modern_clients_are_told_how_long_a_list_keeps() -> None:
    catalog = Catalog(["a"])
    assert listed(catalog, "prompts") == {"prompts": [], "ttlMs": 0, "cacheScope": "private"}
    assert listed(catalog, "prompts", modern=False) == {"prompts": []}


def test_a_uri_is_found_by_its_public_form_whatever_stands_behind_it() -> None:
    """A template's URIs are not listed one by one, so the scheme alone must lead the way."""
    catalog = Catalog(["my_notes"])
    assert catalog.uri("my.notes+note://any/thing?x=1") == Found("my_notes", "note://any/thing?x=1")
    assert catalog.uri("MY.NOTES+note://x") == Found("my_notes", "note://x")
    assert catalog.uri("other+note://x") is None


def test_an_original_uri_is_found_if_one_server_lists_it() -> None:
    """Results link resources in their servers' own terms; a model will try to read those."""
    catalog = Catalog(["a", "b"])
    catalog.update("a", Definitions(resources=entries({"uri": "x://1", "name": "1"})))
    assert catalog.uri("x://1") == Found("a", "x://1")
    catalog.update("b", Definitions(resources=entries({"uri": "x://1", "name": "1"})))
    assert catalog.uri("x://1") is None
    assert catalog.uri("a+x://1") == Found("a", "x://1")


def test_entries_without_a_usable_name_and_repetitions_are_left_out() -> None:
    catalog = Catalog(["a"])
    broken: list[dict[str, Any]] = [
        {"inputSchema": {}},
        {"name": 5},
        tool("t"),
        tool("t", title="again"),
    ]
    catalog.update("a", Definitions(tools=entries(*broken)))
    assert listed(catalog, "tools")["tools"] == [tool("a__t")]


def test_counts_and_tokens_are_of_one_server() -> None:
    catalog = Catalog(["a", "b"])
    catalog.update("a", Definitions(tools=entries(tool("t", description="d" * 400), tool("u"))))
    assert catalog.counts("a") == {"tools": 2, "resources": 0, "templates": 0, "prompts": 0}
    assert catalog.counts("b")["tools"] == 0
    assert 100 < catalog.tokens("a") < 200
    assert catalog.tokens("b") == 0


def test_servers_that_only_case_tells_apart_are_refused() -> None:
    """URI schemes have no case, so `Git` and `git` would be one."""
    with pytest.raises(ConfigError, match="rename one"):
        Catalog(["git", "Git"])


def test_one_catalog_follows_what_another_has_of_a_server() -> None:
    first, other = Catalog(["a", "b"]), Catalog(["a", "b"])
    first.update("a", Definitions(tools=entries(tool("t"))))
    assert other.follow("a", first) == {"tools"}
    assert other.follow("a", first) == set()
    assert other.follow("b", first) == set()
    assert other.tool("a__t") == Found("a", "t")
    assert listed(other, "tools") == listed(first, "tools")
    other.update("b", Definitions(tools=entries(tool("own"))))
    assert first.tool("b__own") is None
    first.update("a", Definitions())
    assert other.follow("a", first) == {"tools"}
    assert other.tool("a__t") is None
