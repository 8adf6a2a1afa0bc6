"""What every test needs; rooms keep their own fixtures beside their tests."""

from __future__ import annotations

from hypothesis import settings

# A shared machine is slow now and then; a property that holds late still holds.
settings.register_profile("interlock", deadline=None)
settings.load_profile("interlock")
