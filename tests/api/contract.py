"""The OpenAPI document as something that replies are held to: nothing undeclared, nothing missing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import jsonschema_rs
from attrs import define, field
from werkzeug.exceptions import HTTPException

from tests.api.api_world import Api, Reply

FREE = {"content-type", "content-length", "content-encoding", "cache-control", "vary", "allow"}
"""Headers that need no word, or have theirs elsewhere."""
SAFE = {"content-security-policy", "referrer-policy", "x-content-type-options"}


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

    @classmethod
    async def of(cls, api: Api) -> Contract:
        return cls((await api.get("/openapi.json", key=None)).json)

    def check(self, api: Api, method: str, path: str, reply: Reply) -> None:
        """Fails where the reply is not as it is described."""
        place, _, _ = path.partition("?")
        try:
            endpoint, _ = api.app.url_map.bind("").match(place, method)
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
        if content is None:
            assert reply.body == b""
            return
        ((media, described),) = content.items()
        assert reply.headers["Content-Type"].partition(";")[0] == media
        if media.endswith("json"):
            self.validate(described["schema"], reply.json)

    def validate(self, schema: Mapping[str, Any], value: object) -> None:
        """Fails with every error, and where it is."""
        validator = _validator(
            json.dumps({**strict(schema), "components": strict(self.document["components"])})
        )
        errors = [f"{list(error.instance_path)}: {error.message}" for error in validator.iter_errors(value)]
        assert not errors, errors

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


@cache
def _validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator(json.loads(schema), validate_formats=True)
