"""Each person's own servers behind one gateway (T16), which shows nobody's token to another (T17)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.doors import ERAS, only_legacy
from tests.gateway.people import (
    PEOPLE,
    Diary,
    as_person,
    at_the_door,
    gate,
    gateway_to,
    key,
    logged_in,
    principal,
    served,
)
from tests.peers import modern
from tests.spec.marking import requirement
from tests.transport.http.host import Host

from interlock import Client, RpcError
from interlock.auth.credentials import Credentials
from interlock.gateway.control import control
from interlock.gateway.gateway import Gateway
from interlock.transport.http.asgi import App
from interlock.wire.tasks import EXTENSION


class House:
    """A diary, a gateway before it at which people say who they are, and their logins."""

    def __init__(self, diary: Diary, url: str, credentials: Credentials, gateway: Gateway) -> None:
        self.diary = diary
        self.url = url
        self.credentials = credentials
        self.gateway = gateway
        self.app = App(gateway, gate=gate())
        self.host = Host(self.app)

    async def log_in(self, person: str, *scopes: str, token: str = "") -> str:
        token = token or f"outbound-token-of-{person or 'owner'}"
        self.diary.admit(person or "owner", token, *scopes)
        await logged_in(self.credentials, self.url, person, token, *scopes)
        return token

    async def ask(self, person: str, method: str, params: dict[str, Any], **can: Any) -> Any:
        """What a modern client of a person's is answered."""
        data = modern(method, 1, params, **{"io.modelcontextprotocol/clientCapabilities": can})
        asked = self.host.modern(data, authorization=f"Bearer {at_the_door(person)}")
        return await asked.json()


@asynccontextmanager
async def house(
    folder: Path, *middleware: Any, logins: tuple[str, ...] = PEOPLE, **options: Any
) -> AsyncGenerator[House]:
    diary = Diary(*middleware)
    async with AsyncExitStack() as stack:
        credentials = await stack.enter_async_context(Credentials.in_memory())
        url = await stack.enter_async_context(diary.served())
        servers = {"diary": {"type": "http", "url": url}}
        gateway = gateway_to(folder, servers, credentials=credentials, **options)
        made = House(diary, url, credentials, gateway)
        for person in logins:
            await made.log_in(person)
        await made.app.start()
        stack.push_async_callback(made.app.stop)
        await gateway.settled(10)
        yield made


@requirement("RS9-12")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("inner", ERAS)
async def test_each_person_is_themselves_to_a_server_that_asks(
    tmp_path: Path, era: str, inner: str
) -> None:
    middleware = [only_legacy] if inner == "legacy" else []
    async with house(tmp_path, *middleware) as it, served(it.app) as door:
        await it.log_in("bob", "secrets", token="another-token-of-bob")
        async with (
            Client(as_person(door, "ada"), revision=era) as ada,
            Client(as_person(door, "bob"), revision=era) as bob,
        ):
            for _ in range(2):
                assert (await ada.call_tool("diary__whoami")).text == "ada"
                assert (await bob.call_tool("diary__whoami")).text == "bob"
            names = [{tool.name for tool in await each.list_tools()} for each in (ada, bob)]
            assert names[1] - names[0] == {"diary__secret"}
            assert (await bob.call_tool("diary__secret")).text == "the secret of bob"
            with pytest.raises(RpcError, match="Unknown tool"):
                await ada.call_tool("diary__secret")
            uri = "diary+diary://today"
            reads = [(await each.read_resource(uri)).contents[0].text for each in (ada, bob)]
            assert reads == ["what ada did", "what bob did"]


@requirement("SEC-04", "RS9-12")
async def test_the_token_that_a_caller_shows_goes_no_further(tmp_path: Path) -> None:
    """2026-07-28 § Authorization, Access Token Privilege Restriction: no passthrough."""
    async with house(tmp_path) as it, served(it.app) as door:
        async with Client(as_person(door, "ada")) as ada:
            await ada.call_tool("diary__whoami")
            await ada.list_tools()
        shown = [value for _, value in it.diary.headers]
        assert b"Bearer outbound-token-of-ada" in shown
        assert not any(at_the_door("ada").encode() in value for value in shown)


async def test_whoever_runs_the_gateway_has_their_own_login_at_every_door(tmp_path: Path) -> None:
    async with house(tmp_path, logins=("", "bob"), owner=principal("ada")) as it:
        async with Client(it.gateway) as here:
            assert (await here.call_tool("diary__whoami")).text == "owner"
        answer = await it.ask("ada", "tools/call", {"name": "diary__whoami"})
        assert answer["result"]["content"][0]["text"] == "owner"
        answer = await it.ask("bob", "tools/call", {"name": "diary__whoami"})
        assert answer["result"]["content"][0]["text"] == "bob"


@requirement("SEC-01", "RS9-12")
async def test_who_did_not_log_in_is_told_how_and_gets_nobody_elses(tmp_path: Path) -> None:
    async with house(tmp_path, logins=("", "ada")) as it:
        command = f"interlock login diary --for '{key('bob')}'"
        answer = await it.ask("bob", "tools/call", {"name": "diary__whoami"})
        assert answer["error"]["message"] == f"server 'diary' needs a login: {command}"
        assert answer["error"]["data"] == {"server": "diary", "login": True}
        assert (await it.ask("bob", "tools/list", {}))["result"]["tools"] == []
        read = await it.ask("bob", "resources/read", {"uri": "diary+diary://today"})
        assert read["error"]["data"]["login"] is True
        await it.log_in("bob")
        listed = (await it.ask("bob", "tools/list", {}))["result"]["tools"]
        assert "diary__whoami" in [tool["name"] for tool in listed]
        answer = await it.ask("bob", "tools/call", {"name": "diary__whoami"})
        assert answer["result"]["content"][0]["text"] == "bob"


async def test_a_shared_server_is_one_for_all(tmp_path: Path) -> None:
    diary = Diary(public=True)
    async with (
        diary.served() as url,
        Credentials.in_memory() as credentials,
    ):
        servers = {
            "with-key": {"type": "http", "url": url, "headers": {"Authorization": "Bearer k"}},
            "never": {"type": "http", "url": url, "oauth": False},
        }
        gateway = gateway_to(tmp_path, servers, credentials=credentials)
        app = App(gateway, gate=gate())
        await app.start()
        await gateway.settled(10)
        host = Host(app)
        before = diary.requests
        for person in PEOPLE:
            for server in servers:
                data = modern("tools/call", 1, {"name": f"{server}__whoami"})
                shown = {"authorization": f"Bearer {at_the_door(person)}"}
                assert "result" in await host.modern(data, **shown).json()
        assert diary.requests == before + 4  # The calls alone: nobody connects anew.
        await app.stop()


@requirement("SEC-06")
async def test_a_task_is_only_its_callers(tmp_path: Path) -> None:
    can: dict[str, Any] = {"extensions": {EXTENSION: {}}}
    async with house(tmp_path) as it:
        begun = await it.ask("ada", "tools/call", {"name": "diary__later"}, **can)
        task = begun["result"]["taskId"]
        missing = await it.ask("bob", "tasks/get", {"taskId": task}, **can)
        assert "Unknown task" in missing["error"]["message"]
        it.diary.open.set()
        found: dict[str, Any] = {}
        while found.get("status") != "completed":
            found = (await it.ask("ada", "tasks/get", {"taskId": task}, **can))["result"]
        assert found["result"]["content"][0]["text"] == "later ada"


@requirement("SEC-06")
@pytest.mark.parametrize("inner", ERAS)
async def test_a_call_that_waits_for_an_answer_goes_on_for_its_caller_alone(
    tmp_path: Path, inner: str
) -> None:
    """With a legacy server it is parked in the gateway, with a modern one its state travels."""
    can: dict[str, Any] = {"elicitation": {"form": {}}}
    asks: dict[str, Any] = {"name": "diary__asks", "arguments": {}}
    async with house(tmp_path, *([only_legacy] if inner == "legacy" else [])) as it:
        asked = (await it.ask("ada", "tools/call", asks, **can))["result"]
        answer = {
            name: {"action": "accept", "content": {"word": "x"}} for name in asked["inputRequests"]
        }
        again = {**asks, "inputResponses": answer, "requestState": asked["requestState"]}
        refused = await it.ask("bob", "tools/call", again, **can)
        assert "requestState" in refused["error"]["message"]
        done = await it.ask("ada", "tools/call", again, **can)
        assert done["result"]["content"][0]["text"] == "ada {'word': 'x'}"


async def test_a_login_that_is_taken_back_ends_the_connection_until_there_is_another(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, logins=("",)) as it, Client(it.gateway) as here:
        assert (await here.call_tool("diary__whoami")).text == "owner"
        del it.diary.good["outbound-token-of-owner"]
        with pytest.raises(RpcError, match="'diary' needs a login: interlock login diary") as told:
            await here.call_tool("diary__whoami")
        assert told.value.data == {"server": "diary", "login": True}
        with pytest.raises(RpcError, match="interlock login diary"):
            await here.call_tool("diary__whoami")
        assert it.gateway.status()[0].state == "needs login"
        requests = it.diary.requests
        with pytest.raises(RpcError, match="interlock login diary"):
            await here.call_tool("diary__whoami")
        assert it.diary.requests == requests  # The login that was refused is not tried again.
        assert "diary__whoami" in [tool.name for tool in await here.list_tools()]
        await it.log_in("", token="the-second-token")
        assert (await here.call_tool("diary__whoami")).text == "owner"
        assert it.gateway.status()[0].state == "running"


async def test_that_a_login_is_over_is_noticed_without_a_call(tmp_path: Path) -> None:
    """The server says that a list changed, on a stream that is open, and gives out no list."""
    noticed = asyncio.Event()

    def heard(server: str, what: str, detail: str) -> None:
        if what == "needs login":
            noticed.set()

    async with house(tmp_path, logins=("",), on_event=heard) as it:
        assert it.gateway.status()[0].state == "running"
        it.diary.good.clear()

        @it.diary.server.tool
        async def fresh() -> str:
            return "fresh"

        await asyncio.wait_for(noticed.wait(), 5)
        assert it.gateway.status()[0].error == (
            "server 'diary' needs a login: interlock login diary"
        )


async def test_a_login_that_allows_too_little_for_one_call_does_for_the_others(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, logins=()) as it:
        await it.log_in("", "secrets")
        async with Client(it.gateway) as here:
            assert (await here.call_tool("diary__secret")).text == "the secret of owner"
            await it.log_in("")
            with pytest.raises(RpcError, match="allows more") as told:
                await here.call_tool("diary__secret")
            assert "interlock login diary --again --scope=secrets" in told.value.message
            assert (await here.call_tool("diary__whoami")).text == "owner"
            assert it.gateway.status()[0].state == "running"


async def test_the_operator_sees_that_a_login_is_needed_and_can_try_again(tmp_path: Path) -> None:
    async with house(tmp_path, logins=()) as it, Client(control(it.gateway)) as operator:
        (status,) = (await operator.call_tool("status")).structured["result"]
        assert status["state"] == "needs login"
        assert status["error"] == "server 'diary' needs a login: interlock login diary"
        assert [event["what"] for event in status["events"]] == ["starting", "needs login"]
        failed = await operator.call_tool("restart", {"server_name": "diary"})
        assert failed.is_error
        assert "interlock login diary" in failed.text
        await it.log_in("")
        done = await operator.call_tool("restart", {"server_name": "diary"})
        assert done.structured["state"] == "running"
        assert done.structured["error"] is None


async def test_the_operator_has_one_persons_login_let_go_of_and_nobody_elses(
    tmp_path: Path,
) -> None:
    async with (
        house(tmp_path, logins=("", *PEOPLE)) as it,
        served(it.app) as door,
        Client(control(it.gateway)) as operator,
    ):

        async def restart(person: str) -> str:
            return (
                await operator.call_tool("restart", {"server_name": "diary", "person": person})
            ).text

        assert f"no server 'diary' of {key('ada')!r}; there are: none" in await restart(key("ada"))
        async with Client(as_person(door, "ada")) as ada, Client(as_person(door, "bob")) as bob:
            for client, name in ((ada, "ada"), (bob, "bob")):
                assert (await client.call_tool("diary__whoami")).text == name
            await it.credentials.drop(it.url, key("ada"))
            # As long as nobody says so, what was read of it goes on being used.
            assert (await ada.call_tool("diary__whoami")).text == "ada"
            assert "needs a login" in await restart(key("ada"))
            with pytest.raises(RpcError, match="needs a login"):
                await ada.call_tool("diary__whoami")
            assert (await bob.call_tool("diary__whoami")).text == "bob"
        assert it.gateway.status()[0].state == "running"


async def test_what_is_heard_is_heard_by_its_own_person(tmp_path: Path) -> None:
    async with house(tmp_path) as it, served(it.app) as door:
        heard: dict[str, list[Any]] = {person: [] for person in PEOPLE}
        updates: dict[str, asyncio.Queue[str]] = {person: asyncio.Queue() for person in PEOPLE}
        async with AsyncExitStack() as stack:
            clients = {
                person: await stack.enter_async_context(
                    Client(
                        as_person(door, person),
                        revision="legacy",
                        log_level="debug",
                        on_log=lambda notice, own=heard[person]: own.append(notice.data),
                        on_update=updates[person].put_nowait,
                    )
                )
                for person in PEOPLE
            }
            for person, client in clients.items():
                await client.call_tool("diary__complain")
                assert heard[person] == [f"{person} complains"]
            await clients["ada"].subscribe("diary+diary://today")
            async with asyncio.timeout(5):
                # The gateway subscribes behind the answer, so a first change may come too early.
                while updates["ada"].empty():
                    it.diary.server.updated("diary://today")
                    await clients["bob"].call_tool("diary__whoami")
            assert updates["ada"].get_nowait() == "diary+diary://today"
            assert updates["bob"].empty()
            assert heard == {person: [f"{person} complains"] for person in PEOPLE}


async def test_a_login_that_allows_too_little_does_for_others_over_the_transport_of_2024_too(
    tmp_path: Path,
) -> None:
    """There a refused message ends the connection; what comes then opens another."""
    ended = asyncio.Event()

    def heard(server: str, what: str, detail: str) -> None:
        if what == "needs login":
            ended.set()

    diary = Diary(only_legacy)
    diary.admit("owner", "all", "secrets")
    diary.admit("owner", "some")
    async with diary.served(sse_path="/sse") as url, Credentials.in_memory() as credentials:
        url_of_sse = url.replace("/mcp", "/sse")
        await logged_in(credentials, url_of_sse, "", "all", "secrets")
        servers = {"diary": {"type": "sse", "url": url_of_sse}}
        gateway = gateway_to(tmp_path, servers, credentials=credentials, on_event=heard)
        async with Client(gateway) as here:
            assert (await here.call_tool("diary__secret")).text == "the secret of owner"
            await logged_in(credentials, url_of_sse, "", "some")
            diary.good.pop("all")
            with pytest.raises(RpcError, match="allows more"):
                await here.call_tool("diary__secret")
            await asyncio.wait_for(ended.wait(), 5)
            assert (await here.call_tool("diary__whoami")).text == "owner"


@pytest.mark.parametrize("path", ["mcp", "sse"])
async def test_a_server_of_2024_may_want_a_login_too(tmp_path: Path, path: str) -> None:
    diary = Diary(only_legacy)
    diary.admit("owner", "good")
    async with (
        diary.served(sse_path="/sse") as modern_url,
        Credentials.in_memory() as credentials,
    ):
        url = modern_url.replace("/mcp", "/sse")
        servers = {"diary": {"type": "sse" if path == "sse" else "http", "url": url}}
        gateway = gateway_to(tmp_path, servers, credentials=credentials)
        await gateway.start()
        await gateway.settled(10)
        try:
            async with Client(gateway) as here:
                with pytest.raises(RpcError, match="interlock login diary"):
                    await here.call_tool("diary__whoami")
                await logged_in(credentials, url, "", "good")
                assert (await here.call_tool("diary__whoami")).text == "owner"
                diary.good.clear()
                for _ in range(2):
                    with pytest.raises(RpcError, match="interlock login diary") as told:
                        await here.call_tool("diary__whoami")
                    assert told.value.data == {"server": "diary", "login": True}
                assert gateway.status()[0].state == "needs login"
        finally:
            await gateway.stop()


@requirement("SEC-15")
async def test_nothing_a_person_is_shown_holds_a_token(tmp_path: Path) -> None:
    async with house(tmp_path, logins=("", "ada")) as it:
        token = "outbound-token"
        await it.ask("ada", "tools/call", {"name": "diary__whoami"})
        del it.diary.good["outbound-token-of-ada"]
        answer = await it.ask("ada", "tools/call", {"name": "diary__whoami"})
        assert answer["error"]["data"]["login"] is True
        for shown in (json.dumps(answer), repr(it.gateway.status()), repr(it.credentials)):
            assert token not in shown
