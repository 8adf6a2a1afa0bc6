"""URLs that a peer might name, and what becomes of each. Ours, after Security Best Practices § SSRF."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from interlock.errors import ConfigError, UnsafeUrl
from interlock.transport.http.addresses import LIMIT, Place, Reach, is_public, read, unsafe

TAKEN = [
    ("https://as.example", "https://as.example"),
    ("https://as.example/.well-known/x?a=b&c=%20#part", "https://as.example"),
    ("https://as.example:8443/x", "https://as.example:8443"),
    ("https://as.example:443", "https://as.example"),
    ("https://as.example:/x", "https://as.example"),
    ("https://as.example:1", "https://as.example:1"),
    ("HTTPS://AS.Example/X", "https://as.example"),
    ("https://as.example./x", "https://as.example"),
    ("https://as.example?next=http://127.0.0.1/", "https://as.example"),
    ("https://as.example#@127.0.0.1/", "https://as.example"),
    ("https://as.example/@127.0.0.1", "https://as.example"),
    ("https://xn--exmple-cua.example/", "https://xn--exmple-cua.example"),
    ("https://1e100.example/", "https://1e100.example"),
    ("https://127.0.0.1.example/", "https://127.0.0.1.example"),
    ("https://0x7f.example/", "https://0x7f.example"),
    ("https://notlocalhost/", "https://notlocalhost"),
    ("https://localhost.example/", "https://localhost.example"),
    ("https://my_host.example/", "https://my_host.example"),
    ("https://8.8.8.8/", "https://8.8.8.8"),
    ("https://[2606:4700::1111]/", "https://[2606:4700::1111]"),
    ("https://[2606:4700:0:0:0:0:0:1111]:8443/", "https://[2606:4700::1111]:8443"),
    # Written in one of two ways, as the Python is old or new.
    ("https://[::ffff:8.8.8.8]/", f"https://[{ip_address('::ffff:8.8.8.8')}]"),
    ("https://[64:ff9b::808:808]/", "https://[64:ff9b::808:808]"),
]

REFUSED = [
    # Schemes.
    ("http://as.example/", "without encryption"),
    ("http://8.8.8.8/", "without encryption"),
    ("file:///etc/passwd", "begins with 'file'"),
    ("gopher://as.example:70/_x", "begins with 'gopher'"),
    ("data:text/html,<script>", "characters"),
    ("data:text/plain,x", "begins with 'data'"),
    ("ftp://as.example/x", "begins with 'ftp'"),
    ("javascript:alert(1)", "begins with 'javascript'"),
    ("ws://as.example/", "begins with 'ws'"),
    ("unix:/var/run/docker.sock", "begins with 'unix'"),
    ("//as.example/x", "begins with"),
    ("/x", "begins with"),
    ("-as.example", "begins with"),
    ("", "begins with"),
    # What stands where a host should.
    ("https://", "no host"),
    ("https:///x", "no host"),
    ("https:/as.example", "no host"),
    ("https:as.example", "no host"),
    ("https://:443/", "no host"),
    ("https://?x", "no host"),
    ("https://user@as.example/", "user in it"),
    ("https://user:secret@as.example/", "user in it"),
    ("https://as.example@127.0.0.1/", "user in it"),
    ("https://@as.example/", "user in it"),
    ("https://as.example:0/", "no port"),
    ("https://as.example:65536/", "no port"),
    ("https://as.example:-1/", "no host"),
    ("https://as.example:80:80/", "no host"),
    ("https://as..example/", "no name"),
    ("https://.as.example/", "no name"),
    ("https://as.example../", "no name"),
    ("https://./", "no name"),
    ("https://" + "a" * 64 + ".example/", "no name"),
    ("https://" + "a." * 140 + "example/", "no name"),
    ("https://127%2e0%2e0%2e1/", "no host"),
    ("https://as%2eexample/", "no host"),
    ("https://as%00.example/", "no host"),
    ("https://exämple.example/", "xn--"),
    ("https://①②⑦.⓪.⓪.①/", "xn--"),
    ("https://127。0。0。1/", "xn--"),
    # Characters.
    ("https://as.example\\@127.0.0.1/", "backslash"),
    ("https:\\\\as.example/", "backslash"),
    ("https://as.example/ x", "spaces"),
    (" https://as.example/", "spaces"),
    ("https://as.example/\r\nx: y", "controls"),
    ("https://as.ex\tample/", "controls"),
    ("https://as.example/\x00", "controls"),
    ("https://as.example/\x7f", "controls"),
    ("https://as.example/\u202ex", "characters"),
    ('https://as.example/"`x`"', "characters"),
    ("https://as.example/" + "x" * LIMIT, "too|not read"),
    # This machine and its neighbours, by their addresses.
    ("https://127.0.0.1/", "not public"),
    ("https://127.255.255.254:8080/", "not public"),
    ("https://0.0.0.0/", "not public"),
    ("https://10.0.0.5/", "not public"),
    ("https://172.16.0.1/", "not public"),
    ("https://192.168.1.1/", "not public"),
    ("https://100.64.0.1/", "not public"),
    ("https://100.100.100.200/latest/meta-data/", "not public"),
    ("https://169.254.169.254/latest/meta-data/", "not public"),
    ("http://169.254.169.254/latest/meta-data/", "not public"),
    ("https://168.63.129.16/", "not public"),
    ("https://192.0.0.192/", "not public"),
    ("https://224.0.0.1/", "not public"),
    ("https://255.255.255.255/", "not public"),
    ("https://[::]/", "not public"),
    ("https://[::1]/", "not public"),
    ("https://[0:0:0:0:0:0:0:1]/", "not public"),
    ("https://[::127.0.0.1]/", "not public"),
    ("https://[::ffff:127.0.0.1]/", "not public"),
    ("https://[::ffff:7f00:1]/", "not public"),
    ("https://[::ffff:169.254.169.254]/", "not public"),
    ("https://[fd00::1]/", "not public"),
    ("https://[fd00:ec2::254]/", "not public"),
    ("https://[fe80::1]/", "not public"),
    ("https://[fec0::1]/", "not public"),
    ("https://[ff02::1]/", "not public"),
    ("https://[64:ff9b::7f00:1]/", "not public"),
    ("https://[64:ff9b::169.254.169.254]/", "not public"),
    ("https://[64:ff9b:1::1]/", "not public"),
    ("https://[2002:7f00:1::]/", "not public"),
    ("https://[2001:0:7f00:1::]/", "not public"),
    ("https://[2001:db8::1]/", "not public"),
    ("https://[fe80::1%25eth0]/", "no host"),
    ("https://[::1%lo]/", "no host"),
    ("https://[::1/", "no host"),
    ("https://[1:2:3]/", "no address"),
    ("https://[::1]as.example/", "no host"),
    # The same in disguise.
    ("https://2130706433/", "disguise"),
    ("https://0x7f000001/", "disguise"),
    ("https://0X7F000001/", "disguise"),
    ("https://017700000001/", "disguise"),
    ("https://127.1/", "disguise"),
    ("https://0177.0.0.1/", "disguise"),
    ("https://127.0.0.0x1/", "disguise"),
    ("https://127.0.0.1./", "disguise"),
    ("https://127.0.0.01/", "disguise"),
    ("https://8.8.8.8./", "disguise"),
    ("https://0/", "disguise"),
    ("https://256.1.1.1/", "disguise"),
    ("https://as.example.5/", "disguise"),
    # This machine by its names.
    ("https://localhost/", "this machine"),
    ("https://localhost./", "this machine"),
    ("https://LOCALHOST:8080/", "this machine"),
    ("https://as.localhost/", "this machine"),
    ("http://localhost/", "this machine"),
]


@pytest.mark.parametrize(("url", "place"), TAKEN)
def test_what_is_on_the_internet_may_be_gone_to(url: str, place: str):
    assert unsafe(url) is None
    assert str(read(url)) == place


@pytest.mark.parametrize(("url", "rule"), REFUSED)
def test_what_is_not_is_refused_by_the_rule_it_breaks(url: str, rule: str):
    with pytest.raises(UnsafeUrl, match=rule):
        Reach().place(url)
    assert unsafe(url) is not None


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hush@as.example/hush",
        "https://127.0.0.1/hush?code=hush#hush",
        "http://as.example/hush?token=hush",
        "https://as.example:0/?hush",
        "https://as.example/ hush",
        "https://2130706433/hush",
        "ftp://hush",
    ],
)
def test_a_refusal_tells_the_host_and_nothing_else_of_the_url(url: str):
    assert "hush" not in (unsafe(url) or "")


def test_a_refusal_does_not_tell_which_address_a_name_has():
    with pytest.raises(UnsafeUrl) as refused:
        Reach().judge(read("https://db.example"), [ip_address("10.1.2.3")])
    assert "10.1.2.3" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True),
        ("172.15.255.255", True),
        ("172.32.0.1", True),
        ("100.128.0.1", True),
        ("2a00:1450::1", True),
        ("64:ff9b::101:101", True),
        ("::ffff:1.1.1.1", True),
        ("64:ff9b::a00:1", False),
        ("::ffff:10.0.0.1", False),
        ("::ffff:0:1.1.1.1", False),
        ("::1.1.1.1", False),
        ("0.1.2.3", False),
        ("192.0.0.9", False),
        ("192.0.2.1", False),
        ("192.88.99.1", False),
        ("198.18.0.1", False),
        ("198.51.100.1", False),
        ("203.0.113.1", False),
        ("240.0.0.1", False),
        ("2001:20::1", False),
        ("2002:101:101::1", False),
        ("3fff::1", False),
        ("4000::1", False),
        ("5f00::1", False),
        ("fe80::1%1", False),
        ("ff0e::1", False),
    ],
)
def test_public_is_what_anybody_reaches_as_the_same_machine(address: str, public: bool):
    assert is_public(ip_address(address)) is public


@pytest.mark.parametrize(
    "near",
    [
        "http://localhost:8000/mcp",
        "https://localhost/mcp",
        "http://LOCALHOST.:8000",
        "http://mcp.localhost",
        "http://127.0.0.1:8000/mcp?a=b",
        "http://[::1]:8000",
        "ws://localhost:8000/mcp",
        "http://me:hush@localhost:8000/mcp",
    ],
)
def test_a_server_on_this_machine_may_name_others_on_it(near: str):
    for url in (
        "http://localhost:9000/x",
        "https://as.localhost",
        "http://127.0.0.2",
        "http://[::1]",
    ):
        assert unsafe(url, near=near) is None
    for url in (
        "https://10.0.0.1",
        "http://169.254.169.254",
        "http://as.example",
        "http://8.8.8.8",
    ):
        assert unsafe(url, near=near) is not None
    for url in ("https://2130706433", "http://127.1", "http://me@localhost"):
        assert unsafe(url, near=near) is not None


def test_a_private_server_may_name_itself_and_no_neighbour():
    near = "https://10.0.0.5:8443/mcp"
    assert unsafe("https://10.0.0.5/x", near=near) is None
    for url in (
        "http://10.0.0.5/x",
        "https://10.0.0.6/x",
        "https://localhost",
        "https://127.0.0.1",
    ):
        assert unsafe(url, near=near) is not None


def test_a_private_server_that_was_typed_without_encryption_may_name_itself_so():
    assert unsafe("http://10.0.0.5:9000/x", near="http://10.0.0.5/mcp") is None
    assert unsafe("http://10.0.0.6/x", near="http://10.0.0.5/mcp") is not None


def judged(url: str, *addresses: str, near: str | None = None, allowed: tuple[str, ...] = ()):
    reach = Reach(near, allowed)
    reach.judge(reach.place(url), [ip_address(each) for each in addresses])


@pytest.mark.parametrize(
    ("url", "near", "address"),
    [
        ("https://as.example", None, "1.1.1.1"),
        ("https://mcp.corp", "https://mcp.corp/mcp", "10.0.0.5"),
        ("https://MCP.corp.:1", "https://mcp.corp/mcp", "10.0.0.5"),
        ("http://mcp.corp", "http://mcp.corp/mcp", "10.0.0.5"),
        ("http://mcp.corp", "http://mcp.corp/mcp", "127.0.1.1"),
        ("http://localhost", "http://localhost/mcp", "::1"),
        ("https://as.example", "http://localhost/mcp", "127.0.0.1"),
        ("https://localhost", "http://localhost/mcp", "1.1.1.1"),
    ],
)
def test_addresses_of_a_name_that_are_in_reach(url: str, near: str | None, address: str):
    judged(url, address, near=near)


@pytest.mark.parametrize(
    ("url", "near", "addresses"),
    [
        ("https://as.example", None, ["10.0.0.5"]),
        ("https://as.example", None, ["1.1.1.1", "10.0.0.5"]),
        ("https://as.example", None, ["1.1.1.1", "2606:4700::1", "::1"]),
        ("https://as.example", "https://mcp.corp/mcp", ["10.0.0.5"]),
        ("https://as.example", "http://localhost/mcp", ["127.0.0.1", "10.0.0.5"]),
        ("https://as.mcp.corp", "https://mcp.corp/mcp", ["10.0.0.5"]),
        ("http://localhost", "http://localhost/mcp", ["1.1.1.1"]),
        ("http://localhost", "http://localhost/mcp", ["127.0.0.1", "1.1.1.1"]),
        ("http://mcp.example", "http://mcp.example/mcp", ["1.1.1.1"]),
        ("http://mcp.corp", "https://mcp.corp/mcp", ["10.0.0.5"]),
    ],
)
def test_addresses_of_a_name_that_are_not(url: str, near: str | None, addresses: list[str]):
    with pytest.raises(UnsafeUrl):
        judged(url, *addresses, near=near)


def test_an_operator_allows_hosts_and_networks():
    allowed = ("as.corp", "10.1.0.0/16", "fd12::/16", "192.168.7.7")
    judged("https://as.corp", "172.16.0.1", allowed=allowed)
    judged("https://AS.corp./", "172.16.0.1", allowed=allowed)
    judged("https://other.corp", "10.1.2.3", "fd12::1", "192.168.7.7", allowed=allowed)
    judged("https://10.1.2.3", "::ffff:10.1.2.3", allowed=allowed)
    for url, address in [
        ("https://other.corp", "10.2.0.1"),
        ("https://sub.as.corp", "172.16.0.1"),
        ("https://other.corp", "127.0.0.1"),
        ("http://other.corp", "10.1.2.3"),
        ("http://as.corp", "172.16.0.1"),
    ]:
        with pytest.raises(UnsafeUrl):
            judged(url, address, allowed=allowed)


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "localhost", "[::1]"])
def test_an_operator_allows_this_machine_and_so_without_encryption(allowed: str):
    judged("http://localhost:9000", "::1" if ":" in allowed else "127.0.0.1", allowed=(allowed,))


@pytest.mark.parametrize(
    "entry", ["", "10.0.0.1/8", "10.0.0.0/99", "127.1", "*.corp", "a b", "https://as.corp", "ä"]
)
def test_what_cannot_be_allowed_is_said_at_once(entry: str):
    with pytest.raises(ConfigError, match="cannot be allowed"):
        Reach(allowed=[entry])


@pytest.mark.parametrize(
    "near", ["", "mcp.example", "ftp://mcp.example", "http://127.1", "http://a b"]
)
def test_a_server_whose_url_cannot_be_read_is_said_at_once(near: str):
    with pytest.raises(ConfigError, match="server's URL"):
        Reach(near)


def test_a_place_is_written_as_its_origin():
    assert str(Place("http", "::1", 80)) == "http://[::1]"
    assert str(Place("https", "as.example", 80)) == "https://as.example:80"
