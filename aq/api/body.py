"""A request's JSON body, read strictly: what two parsers could read in two ways is refused.

Refused as "not JSON" (400): bad UTF-8, a byte order mark, duplicate members at any depth, NaN and Infinity,
escaped lone surrogates, nesting that no parser follows (RFC 8259 with the limits of RFC 7493, I-JSON).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from attrs import frozen
from quart import request

from aq.api.problems import MediaTypeError, NotJsonError
from aq.api.requests import Headers

_MOST_DIGITS: Final = 4_000
_USUAL: Final = frozenset({"application/json", "application/json; charset=utf-8"})
_TEXTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@frozen
class JsonObject:
    """A decoded JSON object, and the text it came from."""

    values: dict[str, Any]
    text: bytes

    def text_of(self, name: str) -> bytes:
        """One member's value, byte for byte as it was sent."""
        return bytes(_TEXTS.decode(self.text)[name])

    def objects(self, name: str) -> list[JsonObject]:
        """The items of a member that is a list of objects."""
        texts = msgspec.json.decode(self.text_of(name), type=list[msgspec.Raw])
        return [
            JsonObject(values, bytes(text)) for values, text in zip(self.values[name], texts, strict=True)
        ]


async def read_object() -> JsonObject:
    """The request's body. Raises MediaTypeError (415), NotJsonError (400) or Quart's 413."""
    if not is_usual(request.headers):
        _check_media_type()
    return parse_object(await request.get_data(cache=False, as_text=False, parse_form_data=False))


def is_usual(headers: Headers) -> bool:
    """Whether a body is declared as plain JSON in the way in which nearly all are."""
    return headers.get("content-type", "") in _USUAL and not headers.getlist("content-encoding")


def parse_object(text: bytes) -> JsonObject:
    """A decoded body. Raises NotJsonError (400)."""
    values = parse_strictly(text)
    if not isinstance(values, dict):
        raise NotJsonError("the body must be a JSON object: {…}")
    return JsonObject(values, text)


async def read_optional_object() -> Mapping[str, Any]:
    """The members of the request's body; none where there is no body."""
    if not await request.get_data(as_text=False, parse_form_data=False):
        return {}
    return (await read_object()).values


def parse_strictly(text: bytes) -> Any:
    """Decoded JSON. Raises NotJsonError saying what is wrong with the text."""
    try:
        decoded = text.decode("utf-8")
        value = json.loads(
            decoded, object_pairs_hook=_members, parse_constant=_no_constant, parse_int=_integer
        )
        if "\\u" in decoded:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeDecodeError:
        raise NotJsonError("the body is not valid UTF-8") from None
    except UnicodeEncodeError:
        raise NotJsonError("the body has an escaped surrogate without its other half") from None
    except RecursionError:
        raise NotJsonError("the body is nested too deeply") from None
    except ValueError as error:
        raise NotJsonError(f"the body is not JSON: {error}") from None
    return value


def _check_media_type() -> None:
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise MediaTypeError("send the body as it is, without Content-Encoding")
    kind = request.mimetype
    charset = request.mimetype_params.get("charset", "utf-8").lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise MediaTypeError("send JSON, with the header Content-Type: application/json")
    if charset not in ("utf-8", "utf8"):
        raise MediaTypeError("JSON is UTF-8: no other charset is taken")


def _members(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"the member {twice!a} is given more than once")
    return members


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def _integer(digits: str) -> int | float:
    """Python refuses to read integers of very many digits; as a value they break every rule anyway."""
    return int(digits) if len(digits) < _MOST_DIGITS else float(digits)
