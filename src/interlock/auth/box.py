"""An authorization server for one box, whose keys and records are kept with this user's state."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence

from interlock.auth import keeping
from interlock.auth.credentials import state_folder
from interlock.auth.issuer.issuer import Issuer
from interlock.auth.issuer.settings import Resource
from interlock.auth.turns import Turns
from interlock.store.sqlite import SqliteStore

OWNER = "owner"
"""The subject of its tokens: whoever has the code that is shown where it runs."""


async def boxed(
    url: str, resources: Sequence[Resource], environ: Mapping[str, str] = os.environ
) -> Issuer:
    """The issuer *url* of this user; what it keeps is sealed with a key as credentials are.

    A restart ends no login: keys, clients and refresh tokens are found again. The sign-in code is
    new each time; browsers that are signed in stay so. Raises `ConfigError` if nothing can be kept.
    """
    folder = state_folder(environ) / "issuers" / hashlib.sha256(url.encode()).hexdigest()[:16]
    key = await keeping.unlock(folder, environ, Turns(folder / "locks"))
    return Issuer(
        url,
        resources=resources,
        store=SqliteStore(folder / keeping.DATABASE),
        secret=key.secret,
    )
