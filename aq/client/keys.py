"""The API keys of a service, as its clients see them. Every method needs a key with the scope ``admin``."""

from __future__ import annotations

from typing import Unpack

import msgspec

from aq.client.both import D, Resource, method
from aq.client.call import new_key
from aq.client.core import Flow
from aq.client.fields import KeyFields, encode
from aq.client.results import ApiKey


class _Keys(msgspec.Struct):
    apikeys: tuple[ApiKey, ...]


class Keys(Resource[D]):
    """``client.keys``."""

    @method
    def create(self, *, idempotency_key: str | None = None, **key: Unpack[KeyFields]) -> Flow[ApiKey]:
        """Make a key; its text, ``key`` of the result, is told this once.

        Where the answer with the text was lost, that key is revoked and another one is made. With an
        ``idempotency_key`` of yours it is not, and ``key`` of a repetition is None: its text was told before.
        """
        body = encode(key)
        made = yield from self._post(ApiKey, "apikeys", body=body, key=idempotency_key or new_key())
        if made.key is None and idempotency_key is None:
            yield from self._delete("apikeys", made.id, gone_is_done=True)
            made = yield from self._post(ApiKey, "apikeys", body=body, key=new_key())
        return made

    @method
    def get(self, id: str) -> Flow[ApiKey]:  # noqa: A002 - as the API has it
        """A key without its text; a revoked one too."""
        return self._get(ApiKey, "apikeys", id)

    @method
    def list(self) -> Flow[tuple[ApiKey, ...]]:
        """All that the key may see, revoked ones too, without their texts."""
        return (yield from self._get(_Keys, "apikeys")).apikeys

    @method
    def revoke(self, id: str) -> Flow[None]:  # noqa: A002
        """From then on it is not valid. Raises Conflict for the last one that can manage keys."""
        return self._delete("apikeys", id, gone_is_done=True)
