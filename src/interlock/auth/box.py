"""An authorization server for one box, whose keys and records are kept with this user's state."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from interlock.auth import keeping
from interlock.auth.credentials import state_folder
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.settings import Resource, issuer_parts
from interlock.auth.metadata import LOOPBACK
from interlock.auth.turns import Turns
from interlock.store.sqlite import SqliteStore

OWNER = "owner"
"""The subject of its tokens: whoever has the code that is shown where it runs."""


async def boxed(
    url: str, resources: Sequence[Resource], environ: Mapping[str, str] = os.environ
) -> Issuer:
    """The issuer *url* of this user; what it keeps is sealed with a key as credentials are.

    A restart ends no login: keys, clients and refresh tokens are found again. The sign-in code is
    new each time; browsers that are signed in stay so. Whatever *url* says, it answers to the names of
    the loopback too, as a proxy before it may use one. Raises `ConfigError` if *url* is no issuer's,
    before anything is kept, or if nothing can be.
    """
    issuer_parts(url)
    state = state_folder(environ)
    # Each in turn: what is made on the way to a folder is as open as the umask says.
    keeping.own(state)
    keeping.own(state / "issuers")
    folder = state / "issuers" / hashlib.sha256(url.encode()).hexdigest()[:16]
    key = await keeping.unlock(folder, environ, Turns(folder / "locks"))
    return Issuer(
        url,
        resources=resources,
        store=SqliteStore(folder / keeping.DATABASE),
        secret=key.secret,
        hosts=LOOPBACK,
    )
