"""The OpenAPI document as something that replies are held to: nothing undeclared, nothing missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import jsonschema_rs
import msgspec
from attrs import define, field
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from aq.api.openapi.build import document

FREE = {
    *("content-type", "content-length", "content-encoding", "cache-control", "vary", "allow"),
    "x-accel-buffering",
}
"""Headers that need no word, or have theirs elsewhere."""
SAFE = {"content-security-policy", "referrer-policy", "x-content-type-options"}


class Reply(Protocol):
    """What an app has answered."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Headers: ...
    @property
    def body(self) -> bytes: ...
    @property
    def json(self) -> Any: ...


def strict(schema: Any) -> Any:
    """The same, where objects have no members but those that are named."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: strict(value) for name, value in schema.items()}
    if found.get("type") == "object" and "properties" in found:
        found.setdefault("additionalProperties", False)
    return found


@define
class Contract:
    """``seen`` are the (operationId, status) of the replies that were checked."""

    document: Mapping[str, Any]
    seen: set[tuple[str, int]] = field(factory=set)
    _validators: dict[str, jsonschema_rs.Draft202012Validator] = field(factory=dict)

    @classmethod
    def of(cls, app: QuartTrio) -> Contract:
        return cls(msgspec.json.decode(msgspec.json.encode(document(app))))

    def check(self, app: QuartTrio, method: str, path: str, reply: Reply) -> None:
        """Fails where the reply is not as it is described."""
        place, _, _ = path.partition("?")
        try:
            endpoint, _ = app.url_map.bind("").match(place, method)
        except HTTPException:
            return  # no route: nothing is said of it
        operation = self.operations().get(endpoint)
        if operation is None:
            return
        assert str(reply.status) in operation["responses"], (endpoint, reply.status, reply.body)
        self.seen.add((endpoint, reply.status))
        response = self.resolved(operation["responses"][str(reply.status)])
        self._check_headers(endpoint, response, reply)
        content = response.get("content")
        if method == "HEAD":  # the server leaves the body away, this client does not
            return
        if content is None:
            assert reply.body == b""
            return
        ((media, described),) = content.items()
        assert reply.headers["Content-Type"].partition(";")[0] == media
        if media.endswith("json"):
            self.validate(described["schema"], reply.json)

    def validate(self, schema: Mapping[str, Any], value: object) -> None:
        """Fails with every error, and where it is."""
        name = json.dumps(schema)
        if name not in self._validators:
            whole = {**strict(schema), "components": strict(self.document["components"])}
            self._validators[name] = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
        errors = self._validators[name].iter_errors(value)
        assert not (told := [f"{list(error.instance_path)}: {error.message}" for error in errors]), told

    def operations(self) -> Mapping[str, Any]:
        return {operation["operationId"]: operation for _, _, operation in self.routes()}

    def routes(self) -> Iterator[tuple[str, str, Any]]:
        """Path, method and operation."""
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                yield path, method.upper(), operation

    def resolved(self, thing: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a reference leads to."""
        if "$ref" not in thing:
            return thing
        found: Any = self.document
        for step in thing["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        return dict(found)

    def _check_headers(self, endpoint: str, response: Mapping[str, Any], reply: Reply) -> None:
        declared = {name.lower(): self.resolved(it) for name, it in response["headers"].items()}
        given = {name.lower() for name, _ in reply.headers}
        needed = {name for name, it in declared.items() if it["required"]}
        assert needed <= given, (endpoint, reply.status, needed - given)
        undeclared = given - declared.keys() - FREE - SAFE
        assert not undeclared, (endpoint, reply.status, undeclared)
        for name in declared.keys() & given:
            value: Any = reply.headers[name]
            kind = declared[name]["schema"]["type"]
            self.validate(declared[name]["schema"], int(value) if kind == "integer" else value)


def contract_of(app: QuartTrio) -> Contract:
    """One for all apps of a run: they have the same routes."""
    if not _MADE:
        _MADE.append(Contract.of(app))
    return _MADE[0]


_MADE: list[Contract] = []
