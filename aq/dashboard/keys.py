"""API keys: who may ask for what."""

from __future__ import annotations

from attrs import frozen
from quart import Blueprint, Response

from aq.api.apikeys import refusals, view_of
from aq.api.auth import grant
from aq.dashboard.shell import page
from aq.engine import Engine


@frozen
class KeyPages:
    """``/keys``."""

    engine: Engine

    def mount(self, blueprint: Blueprint) -> None:
        blueprint.add_url_rule("/keys", "keys", self.list, methods=["GET"])

    async def list(self) -> Response:
        """Those that this session's key may manage; the newest first, revoked ones last."""
        found = [view_of(key) for key in self.engine.keys.list() if not refusals(grant(), key)]
        found.sort(key=lambda key: (key["revoked_at"] is None, key["id"]), reverse=True)
        return page("keys.html", keys=found)
