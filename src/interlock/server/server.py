"""Server: decorators in, one Handler out."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, TypeVar, overload

from interlock.errors import (
    METHOD_NOT_FOUND,
    ConfigError,
    InsufficientScope,
    RegistrationError,
    RpcError,
)
from interlock.protocol.call import Call, Handler, Middleware, stack
from interlock.protocol.gate import Admission, Gate, TokenVerifier
from interlock.protocol.sealing import Keyring, from_environment
from interlock.server.apps import Html
from interlock.server.apps import page as app_page
from interlock.server.carrying import Carrier
from interlock.server.completion import Completer, Completions
from interlock.server.context import Context
from interlock.server.function import Function, documentation, name_of
from interlock.server.introduction import Introduction
from interlock.server.ledger import TaskLimits
from interlock.server.lifespan import Factory, Lifespan
from interlock.server.parking import LIMIT, SECONDS, Parking
from interlock.server.prompts import FunctionPrompt, Prompts
from interlock.server.resources import FunctionResource, FunctionTemplate, Resources
from interlock.server.seat import seat
from interlock.server.shelf import UNCACHED, Caching, Shelf, drawn, hints_of, needed
from interlock.server.subscriptions import Subscriptions
from interlock.server.tasks import Tasks
from interlock.server.threads import WORKERS, Threads
from interlock.server.tools import FunctionTool, Tools, describe, shown
from interlock.server.worker import Mode, Worker
from interlock.store.memory import MemoryStore
from interlock.store.ports import Store
from interlock.wire.apps import EXTENSION as UI
from interlock.wire.apps import SCHEME, Audience, Csp, Permission, ToolPage, page_of_tool
from interlock.wire.apps import SETTINGS as UI_SETTINGS
from interlock.wire.completion import CompleteParams, PromptReference
from interlock.wire.content import ResourceContents
from interlock.wire.lifecycle import (
    InitializeResult,
    ServerCapabilities,
    SetLevelParams,
)
from interlock.wire.meta import (
    Annotations,
    CacheHints,
    EmptyResult,
    Icon,
    Implementation,
    Result,
)
from interlock.wire.methods import DISCOVER, INITIALIZE, LISTEN, PING
from interlock.wire.notices import Kind
from interlock.wire.prompts import Prompt
from interlock.wire.resources import Resource, ResourceTemplate
from interlock.wire.skills import EXTENSION as SKILLS
from interlock.wire.tools import ToolAnnotations

F = TypeVar("F", bound=Function)


class Server:
    """A server: its tools, resources and prompts, and the handler they make.

    Both eras are served at once; which one a call came from shows in its envelope only. Functions
    may be sync or async; sync ones run in a pool of *workers* threads that nothing else uses.

    *middleware* is stacked around the handler, the first outermost. *lifespan* is a context
    manager factory, entered before the first call; what it gives is `Context.state`. *page_size*
    cuts lists into pages. *cache* is what clients are told about keeping lists and reads, for all
    of them or by kind; the default is to keep nothing. *keyring* seals what travels through clients: workers that serve one
    endpoint need the same secrets, by default those in `INTERLOCK_KEYS`. At most *parked* calls wait
    for what they asked modern clients, each for *parked_seconds*.

    *store* keeps tasks, as far as *tasks* allows: by default in this process, or with those that
    `run(server, "http", workers=…)` has serve beside it; with a `SqliteStore` over its end. Workers
    of one name that share a store tell one another's clients of changes. The server opens it when it
    starts, and closes it when it stops.

    *auth* says who may come in over HTTP: callers with an access token that *token_verifier* finds
    good, by default one that an issuer of *auth*'s has signed. Over stdio and in this process nobody
    is asked. A proof of possession is taken once by all workers that share a *store*.

    A server may be changed while it runs: clients are told, of the kinds that it had when they
    came. *offers* names kinds ("tools", "resources", "prompts") that it will have later.
    """

    def __init__(
        self,
        name: str,
        *,
        version: str = "0.0.0",
        title: str | None = None,
        description: str | None = None,
        instructions: str | None = None,
        icons: Sequence[Icon] | None = None,
        website_url: str | None = None,
        middleware: Iterable[Middleware] = (),
        lifespan: Factory | None = None,
        page_size: int | None = None,
        cache: Caching = UNCACHED,
        offers: Iterable[Kind] = (),
        workers: int = WORKERS,
        keyring: Keyring | None = None,
        parked: int = LIMIT,
        parked_seconds: float = SECONDS,
        store: Store | None = None,
        tasks: TaskLimits = TaskLimits(),  # noqa: B008  frozen
        auth: Admission | None = None,
        token_verifier: TokenVerifier | None = None,
    ) -> None:
        if token_verifier is not None and auth is None:
            raise ConfigError(
                "token_verifier= verifies tokens of an issuer, for a resource: say which with "
                "auth=AuthSettings(issuer_url=…, resource_server_url=…)"
            )
        if store is None and (mine := seat()) is not None:
            store = mine.store
        self._auth = auth
        self._verifier = token_verifier
        self._gate: Gate | None = None
        self._shared = store
        self.info = Implementation(
            name=name,
            version=version,
            title=title,
            description=description,
            website_url=website_url,
            icons=drawn(icons),
        )
        self._introduction = Introduction(
            self.info,
            instructions,
            hints_of(cache, "discover"),
            offers,
            completes=lambda: len(self.completions) > 0,
            has_tasks=self._has_tasks,
        )
        self.subscriptions = Subscriptions(lambda: self._introduction.offers)
        self._threads = Threads(workers)
        self._keyring = keyring if keyring is not None else from_environment()
        self._parking = Parking(self._keyring, limit=parked, seconds=parked_seconds)
        self._lifespan = Lifespan(lifespan)
        self._store = store if store is not None else MemoryStore()
        self.worker = Worker(self._store, tasks, self._has_tasks)
        self.tasks = Tasks(self.worker.ledger, self._has_tasks)
        self.subscriptions.follow = self.tasks.follow
        # Nobody else sees a store of our own.
        self._carrier = Carrier(store.bus, name, self.subscriptions) if store is not None else None

        def shelf(member: str, noun: str, kind: Kind, **options: Any) -> Shelf[Any]:
            def changed() -> None:
                self._introduction.offers.add(kind)
                self.subscriptions.changed(kind)

            return Shelf(
                member,
                noun,
                page_size=page_size,
                hints=hints_of(cache, kind),
                changed=changed,
                realm=name,
                **options,
            )

        self._new_shelf = shelf
        self._offer_skills: Callable[[str | os.PathLike[str], str], None] | None = None
        self.tools = Tools(
            shelf("tools", "tool", "tools", shown=shown, hidden=_hidden),
            self._context,
            self._threads,
            self._parking,
            self.worker,
        )
        self.resources = Resources(
            shelf("resources", "resource", "resources", hidden=_needs),
            shelf("resourceTemplates", "resource template", "resources", hidden=_needs),
            self._context,
            self._threads,
            self._parking,
            hints_of(cache, "reads"),
        )
        self.subscriptions.allow = self.resources.allow
        self.prompts = Prompts(
            shelf("prompts", "prompt", "prompts", hidden=_needs),
            self._context,
            self._threads,
            self._parking,
        )
        self.completions = Completions(self._arguments_of, self._threads)
        self._routes: dict[str, Handler] = {
            INITIALIZE: self._initialize,
            DISCOVER: self._introduction.discover,
            PING: _done,
            LISTEN: self.subscriptions.listen,
            "logging/setLevel": _set_level,
            "tools/list": self.tools.shelf.page,
            "tools/call": self.tools.call,
            "resources/list": self.resources.resources.page,
            "resources/templates/list": self.resources.templates.page,
            "resources/read": self.resources.read,
            "resources/subscribe": self.subscriptions.subscribe,
            "resources/unsubscribe": self.subscriptions.unsubscribe,
            "prompts/list": self.prompts.shelf.page,
            "prompts/get": self.prompts.get,
            "completion/complete": self._complete,
            **self.tasks.routes,
        }
        self.handle: Handler = stack(self._route, middleware)

    # Registering.

    @overload
    def tool(self, function: F, /) -> F: ...
    @overload
    def tool(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        annotations: ToolAnnotations | None = None,
        icons: Sequence[Icon] | None = None,
        input_schema: dict[str, Any] | None = None,
        output_schema: dict[str, Any] | None = None,
        meta: dict[str, Any] | None = None,
        structured: bool = True,
        task: Mode = "never",
        cache: CacheHints | None = None,
        ui: str | None = None,
        visibility: Sequence[Audience] | None = None,
        scopes: Iterable[str] = (),
        list_without_scopes: bool = False,
    ) -> Callable[[F], F]: ...

    def tool(self, function: F | None = None, /, **options: Any) -> F | Callable[[F], F]:
        """Offer a function as a tool, with or without parentheses; the function stays as it is.

        Its name, docstring and type hints become the tool's name, description and schemas. Say
        more of a parameter by `Annotated[int, "what it is"]` or `Annotated[int, Meta(ge=1)]`. What
        it returns becomes text, and structured content where the return type has a schema
        (*structured* False turns that off). *input_schema* replaces the generated schema verbatim;
        arguments are still decoded into the function's own types. *cache* is how long its place in
        the list may be kept. Raise `ToolError` to tell the model what went wrong; any other
        exception is masked.

        *task* lets calls outlive their request, for clients that can have a task for an answer:
        "optional" makes one of every call that takes longer than a moment, "required" of every
        call, and refuses clients that cannot; "later" waits for `await ctx.become_task()`.

        *ui* is the page (`app_resource`) that shows its results where a client can; what the tool
        returns must do without. *visibility* ["app"] keeps it to pages: hosts do not show it to
        their model, but those that know of no apps do.

        *scopes* are what a caller's access token has to allow, all of them; over HTTP whoever has
        less is told what to ask for. Such a tool is in the lists of those who may call it, or with
        *list_without_scopes* of all, so that clients find out what more they could ask for.
        """

        def register(function: F) -> F:
            tool = describe(function, **options)
            self.tools.shelf.add(tool)
            if page_of_tool(tool.listed.meta) != ToolPage():
                self._introduction.extensions[UI] = UI_SETTINGS
            return function

        return register(function) if function is not None else register

    def resource(
        self,
        uri: str,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        mime_type: str | None = None,
        size: int | None = None,
        annotations: Annotations | None = None,
        icons: Sequence[Icon] | None = None,
        meta: dict[str, Any] | None = None,
        cache: CacheHints | None = None,
        scopes: Iterable[str] = (),
    ) -> Callable[[F], F]:
        """Offer what a function gives as a resource; with `{variables}` in *uri*, as a template.

        The function returns text, bytes, `ResourceContents`, or anything that becomes JSON; None
        says that there is no such resource. Its parameters are the template's variables, converted
        to their types. Variables never match `..` or an encoded slash unless written `{+path}`,
        and `..` not even then. *size* is how many bytes a resource has, if that is known before
        it is read. *cache* is how long what it gives may be kept. *scopes* are what a caller's access
        token has to allow; whoever has less does not see it listed either.
        """
        if not isinstance(uri, str):  # pyright: ignore[reportUnnecessaryIsInstance]  for callers without types
            raise RegistrationError("@server.resource needs a URI: @server.resource('scheme://…')")

        def register(function: F) -> F:
            common: dict[str, Any] = {
                "name": name or name_of(function),
                "title": title,
                "description": description or documentation(function),
                "mime_type": mime_type,
                "annotations": annotations,
                "icons": drawn(icons),
                "meta": meta,
            }
            allowed = needed(uri, scopes)
            if "{" not in uri:
                listed = Resource(uri=uri, size=size, **common)
                self.resources.resources.add(FunctionResource(function, listed, cache, allowed))
            else:
                if size is not None:
                    raise RegistrationError(f"{uri!r} is many resources, which have no one size")
                template = ResourceTemplate(uri_template=uri, **common)
                self.resources.templates.add(FunctionTemplate(function, template, cache, allowed))
            return function

        return register

    def app_resource(
        self,
        uri: str,
        html: Html,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        csp: Csp | None = None,
        permissions: Sequence[Permission] = (),
        domain: str | None = None,
        prefers_border: bool | None = None,
        cache: CacheHints | None = None,
    ) -> None:
        """Offer a page under a `ui://` URI, for tools to be shown by (`@server.tool(ui=uri)`).

        *html* is the whole document, the `Path` of its file, which is read each time, or a function
        that gives it. It runs in a frame of the client's, which lets it reach nothing but what
        *csp* names, and may grant it *permissions*; *domain* and *prefers_border* are wishes.
        """
        page = app_page(
            uri,
            html,
            name=name or uri.removeprefix(SCHEME) or uri,
            title=title,
            description=description,
            csp=csp,
            permissions=permissions,
            domain=domain,
            prefers_border=prefers_border,
            hints=cache,
        )
        self.resources.resources.add(page)
        self._introduction.extensions[UI] = UI_SETTINGS

    @overload
    def prompt(self, function: F, /) -> F: ...
    @overload
    def prompt(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        title: str | None = None,
        description: str | None = None,
        icons: Sequence[Icon] | None = None,
        meta: dict[str, Any] | None = None,
        cache: CacheHints | None = None,
        scopes: Iterable[str] = (),
    ) -> Callable[[F], F]: ...

    def prompt(self, function: F | None = None, /, **options: Any) -> F | Callable[[F], F]:
        """Offer a function as a prompt, with or without parentheses.

        It returns text, a content block, a `PromptMessage`, or a list of those. Arguments arrive
        as strings and are converted to the types of the parameters. *scopes* are what a caller's
        access token has to allow; whoever has less does not see it listed either.
        """

        def register(function: F) -> F:
            prompt = Prompt(
                name=options.get("name") or name_of(function),
                title=options.get("title"),
                description=options.get("description") or documentation(function),
                icons=drawn(options.get("icons")),
                meta=options.get("meta"),
            )
            allowed = needed(prompt.name, options.get("scopes", ()))
            self.prompts.shelf.add(FunctionPrompt(function, prompt, options.get("cache"), allowed))
            return function

        return register(function) if function is not None else register

    def completer(self, reference: str, argument: str) -> Callable[[Completer], Completer]:
        """Complete *argument* of the prompt or URI template *reference* with a function.

        It takes what was typed and, if it has a second parameter, the arguments already filled in,
        and gives values, best first; clients are sent a hundred at most.
        """

        def register(completer: Completer) -> Completer:
            self.completions.add(reference, argument, completer)
            return completer

        return register

    def skills(
        self, folder: str | os.PathLike[str], *, prefix: str = "", cache: CacheHints | None = None
    ) -> None:
        """Offer the skills in a folder: each directory with a SKILL.md, at any depth, or itself.

        Their files are resources under `skill://`, after *prefix* ("acme/billing") if there is one.
        Links and hidden files are not part of a skill. What changes on disk is noticed. *cache* is
        how long what the files hold may be kept, and counts for all folders; the first call says it.
        Raises `RegistrationError` for a skill that hosts would not take, and says why.
        """
        # YAML is a library of its own, for those who have skills.
        from interlock.server.skills import SETTINGS, Skills

        if self._offer_skills is None:
            shelf = self._new_shelf("skills", "skill", "resources")
            skills = Skills(shelf, self.resources, self._threads, cache)
            self._routes |= skills.routes
            self._introduction.extensions[SKILLS] = SETTINGS
            self._offer_skills = skills.offer
        self._offer_skills(folder, prefix)

    def remove_tool(self, name: str) -> None:
        """Stop offering a tool; calls that run go on. Raises `KeyError` if there is none."""
        self.tools.shelf.remove(name)

    def remove_prompt(self, name: str) -> None:
        """Stop offering a prompt. Raises `KeyError` if there is none."""
        self.prompts.shelf.remove(name)

    def remove_resource(self, uri: str) -> None:
        """Stop offering a resource or a template. Raises `KeyError` if there is none."""
        shelf: Shelf[Any] = self.resources.resources
        if shelf.get(uri) is None:
            shelf = self.resources.templates
        shelf.remove(uri)

    # Telling.

    def changed(self, kind: Kind) -> None:
        """Tell clients that a list changed. Adding and removing says so by itself."""
        self.subscriptions.changed(kind)

    def updated(self, uri: str) -> None:
        """Tell clients that watch the resource that its contents changed."""
        self.subscriptions.updated(uri)

    # Serving.

    async def start(self) -> None:
        """Open the store and the lifespan. Whoever serves the server calls it once, before the
        first call. Raises `RegistrationError` for a tool that is shown by a page there is none of.
        """
        for tool in self.tools.shelf:
            page = page_of_tool(tool.listed.meta).resource_uri
            if page is not None and not self.resources.has(page):
                raise RegistrationError(
                    f"{tool.key} is shown by {page}, which is not here: server.app_resource({page!r}"
                    ", …) offers it"
                )
        await self._store.open()
        try:
            if self._carrier is not None:
                await self._carrier.start()
            await self._lifespan.start()
        except BaseException:
            if self._carrier is not None and not self._lifespan.used:
                await self._carrier.stop()
            await self._store.close()
            raise

    async def stop(self) -> None:
        """End tasks, close the lifespan, and end subscriptions, once nobody serves the server any
        more.
        """
        try:
            if self._lifespan.last:
                await self.worker.end()
            if await self._lifespan.stop():
                self.subscriptions.end()
                if self._carrier is not None:
                    await self._carrier.stop()
                await self._parking.end()
                self._threads.stop()
        finally:
            await self._store.close()

    @property
    def gate(self) -> Gate | None:
        """What asks for access tokens over HTTP; None if nobody is asked. Whoever serves the server
        puts it before everything else: `transport.http.asgi.App` does.
        """
        if self._gate is None and self._auth is not None:
            # Kept out of servers without it, with the cryptography beneath.
            from interlock.auth.bearer import gate_of

            self._gate = gate_of(
                self._auth,
                self._verifier,
                offered=self._scopes,
                table=self._shared.table("proofs") if self._shared is not None else None,
                keyring=self._keyring,
            )
        return self._gate

    @property
    def scoped(self) -> bool:
        """Whether some of what it offers is only for callers with certain scopes."""
        return bool(self._scopes())

    @property
    def instructions(self) -> str | None:
        """What clients show a model of how to use the server."""
        return self._introduction.instructions

    @property
    def capabilities(self) -> ServerCapabilities:
        """What the server offers at this moment."""
        return self._introduction.capabilities

    def _scopes(self) -> frozenset[str]:
        shelves: tuple[Shelf[Any], ...] = (
            self.tools.shelf,
            self.resources.resources,
            self.resources.templates,
            self.prompts.shelf,
        )
        return frozenset(scope for shelf in shelves for item in shelf for scope in item.scopes)

    def _has_tasks(self) -> bool:
        return any(tool.task is not None for tool in self.tools.shelf)

    def _route(self, call: Call) -> Awaitable[Result]:
        handler = self._routes.get(call.row.name)
        if handler is None:
            raise RpcError(METHOD_NOT_FOUND, f"Method not found: {call.row.name}")
        return handler(call)

    async def _initialize(self, call: Call) -> InitializeResult:
        assert call.session is not None
        self.subscriptions.attach(call.session)
        return self._introduction.greet(call, self.tasks)

    async def _complete(self, call: Call) -> Result:
        if not len(self.completions):
            raise RpcError(METHOD_NOT_FOUND, "This server completes nothing")
        assert isinstance(call.params, CompleteParams)
        ref = call.params.ref
        item = self._referred(ref.name if isinstance(ref, PromptReference) else ref.uri)
        if item is not None and item.scopes and call.principal.lacks(item.scopes):
            raise InsufficientScope(item.scopes)
        return await self.completions.complete(call)

    def _arguments_of(self, reference: str) -> Iterable[str] | None:
        item = self._referred(reference)
        if isinstance(item, FunctionPrompt):
            return item.signature.arguments.names
        return item.template.names if item is not None else None

    def _referred(self, reference: str) -> FunctionPrompt | FunctionTemplate | None:
        return self.prompts.shelf.get(reference) or self.resources.templates.get(reference)

    def _context(self, call: Call) -> Context:
        return Context(call, self._read, self._lifespan.state, self._keyring, self.worker.become)

    async def _read(self, call: Call, uri: str) -> Sequence[ResourceContents]:
        return await self.resources.contents(call, uri)


def _hidden(tool: FunctionTool) -> frozenset[str]:
    return tool.hidden


def _needs(item: Any) -> frozenset[str]:
    return item.scopes


async def _done(call: Call) -> EmptyResult:
    return EmptyResult()


async def _set_level(call: Call) -> EmptyResult:
    params = call.params
    assert isinstance(params, SetLevelParams)
    if call.session is not None:
        call.session.set_level(params.level)
    return EmptyResult()
