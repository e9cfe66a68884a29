"""Every field, parameter and header with every wrong value, against a live server: named, and not stored.

Which fields there are, and what is wrong for each, comes out of the OpenAPI document: a new one is covered by
itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import quote

import jsonschema_rs
import pytest
import trio
from attrs import frozen

from benchmarks.fuzz.exchange import Answer
from benchmarks.fuzz.forms import Form, forms
from benchmarks.fuzz.nasty import NO_VALUES, VALUES, WORDS
from tests.api.api_world import KEY, open_api
from tests.api.contract import strict
from tests.api.door import TASK, Door, open_door

pytestmark = pytest.mark.usefixtures("both_doors")

FAR = 2**63
MARK = '"\\u0000here"'
CLAIM = "Idempotency-Key: claimed\r\n"


async def _document() -> dict[str, Any]:
    async with open_api() as api:
        return dict((await api.get("/openapi.json", key=None)).json)


DOCUMENT = trio.run(_document)
FORMS = forms(DOCUMENT)
WITH_BODY = [form for form in FORMS if form.fields]
NAMES = [f"{form.method} {form.path}" for form in WITH_BODY]
WITH_QUERY = [form for form in FORMS if form.query]
WITH_KEY = [form for form in FORMS if "Idempotency-Key" in form.headers]
WITH_NAME = [form for form in FORMS if "{" in form.path]


# -- what is wrong for a schema -----------------------------------------------------------------------------
@cache
def validator(schema: str) -> jsonschema_rs.Draft202012Validator:
    whole = {**strict(json.loads(schema)), "components": strict(DOCUMENT["components"])}
    return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)


def wrong_values(schema: Mapping[str, Any]) -> list[str]:
    """JSON texts of values that the schema does not allow."""
    return [text for text in VALUES if _is_wrong(json.loads(text, parse_int=_integer), schema)]


def wrong_words(schema: Mapping[str, Any]) -> list[str]:
    """Texts that are no such parameter: neither as they are nor as the numbers that they spell."""
    return [word for word in WORDS if _is_wrong(_number(word), schema) and _is_wrong(word, schema)]


def _is_wrong(value: Any, schema: Mapping[str, Any]) -> bool:
    if isinstance(value, int | float) and abs(value) >= FAR:
        return True
    if isinstance(value, float) and "integer" in schema.get("type", ""):
        return True  # 10.0 is an integer to JSON Schema, and none to us
    return not validator(json.dumps(schema)).is_valid(value)


def _integer(digits: str) -> float:
    return int(digits) if len(digits) < 20 else float(digits)


def _number(word: str) -> object:
    try:
        return json.loads(word)
    except ValueError:
        return word


# -- the world ----------------------------------------------------------------------------------------------
@frozen
class World:
    """``before`` is what was stored when all of it was there."""

    door: Door
    names: Mapping[str, str]
    before: Mapping[str, str]

    def path(self, form: Form, **names: str) -> str:
        return form.path.format(**{**self.names, **names})

    async def answers(self, requests: Sequence[bytes]) -> list[Answer]:
        """Of requests sent in one go on one connection, one each; what is stored is as before."""
        last = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        *answers, healthy = await self.door.exchange(b"".join([*requests, last]))
        assert healthy.status == 200
        assert len(answers) == len(requests)
        assert self.door.stored() == self.before
        return answers


def request(method: str, path: str, body: bytes | None = None, more: str = "") -> bytes:
    framing = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\n{framing}{more}\r\n".encode(
        "latin-1"
    ) + (body or b"")


async def made(door: Door) -> World:
    """One of everything that a path can name."""
    slot = {name: json.loads(TASK)[name] for name in ("queue", "webhook_url")}
    key = await door.api.post("/v1/apikeys", {"name": "n"})
    schedule = await door.api.post("/v1/schedules", {"every": 86_400, "task": slot})
    names = {
        "task_id": (await door.api.task())["id"],
        "key_id": key.json["id"],
        "schedule_id": schedule.json["id"],
        "name": "q",
    }
    return World(door, names, door.stored())


def with_member(form: Form, name: str, text: str) -> bytes:
    """The example with one member set to a JSON text."""
    return (
        json.dumps({**form.example, name: MARK})
        .replace(json.dumps(MARK), text)
        .encode("utf-8", "surrogatepass")
    )


def roots(answer: Answer) -> set[str]:
    """The members that a 422 names, without what is within them."""
    assert answer.status == 422, answer
    assert all(wrong["message"] for wrong in answer.json["errors"])
    return {wrong["field"].partition(".")[0].partition("[")[0] for wrong in answer.json["errors"]}


# -- bodies -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", WITH_BODY, ids=NAMES)
async def test_every_wrong_value_of_every_field_is_a_422_that_names_it(form: Form) -> None:
    tried = [(name, text) for name, schema in form.fields.items() for text in wrong_values(schema)]
    assert {name for name, _ in tried} == set(form.fields)
    async with open_door() as door:
        world = await made(door)
        path = world.path(form)
        requests = [request(form.method, path, with_member(form, name, text), CLAIM) for name, text in tried]
        for (name, text), answer in zip(tried, await world.answers(requests), strict=True):
            assert roots(answer) == {name}, (text[:99], answer.body)


@pytest.mark.parametrize("form", WITH_BODY, ids=NAMES)
async def test_all_wrong_fields_are_named_at_once(form: Form) -> None:
    wrong = {name: wrong_values(schema) for name, schema in form.fields.items()}
    bodies = []
    for turn in range(max(map(len, wrong.values()))):
        members = [f'"{name}": {texts[turn % len(texts)]}' for name, texts in wrong.items()]
        bodies.append("{" + ", ".join([*members, '"bogus": 1']) + "}")
    async with open_door() as door:
        world = await made(door)
        requests = [request(form.method, world.path(form), body.encode(), CLAIM) for body in bodies]
        for answer in await world.answers(requests):
            assert roots(answer) == {*form.fields, "bogus"}, answer.body


@pytest.mark.parametrize("form", WITH_BODY, ids=NAMES)
async def test_what_is_no_json_is_a_400_in_every_field_and_stores_nothing(form: Form) -> None:
    name, example = next(iter(form.fields)), json.dumps(form.example).encode()
    bodies = [with_member(form, name, text) for text in NO_VALUES]
    bodies += [b"[1]", b"17", b'"a"', b"null", b"[%b]" % example, example * 2, example[:-1], example + b"\0"]
    bodies += [
        b"\xef\xbb\xbf" + example,
        example.decode().encode("utf-16"),
        example.replace(b'"', b'"\xff', 1),
    ]
    bodies += [b"\xed\xa0\x80", b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
    async with open_door() as door:
        world = await made(door)
        requests = [request(form.method, world.path(form), body, CLAIM) for body in bodies]
        for body, answer in zip(bodies, await world.answers(requests), strict=True):
            assert answer.status == 400, (body[:99], answer.body)
            assert answer.headers["content-type"] == "application/problem+json"


# -- parameters, headers, paths -----------------------------------------------------------------------------
@pytest.mark.parametrize("form", WITH_QUERY, ids=lambda form: form.path)
async def test_every_wrong_parameter_is_a_422_that_names_it(form: Form) -> None:
    tried = [(name, word) for name, schema in form.query.items() for word in wrong_words(schema)]
    assert {name for name, _ in tried} == set(form.query)
    async with open_door() as door:
        world = await made(door)
        path = world.path(form)
        requests = [request(form.method, f"{path}?{name}={quote(word)}") for name, word in tried]
        for (name, word), answer in zip(tried, await world.answers(requests), strict=True):
            assert roots(answer) == {name}, (word[:99], answer.body)
        twice = [request(form.method, f"{path}?{name}=1&{name}=1") for name in form.query]
        for name, answer in zip(form.query, await world.answers(twice), strict=True):
            assert roots(answer) == {name}
        everything = "&".join(
            f"{name}={quote(wrong_words(schema)[0])}" for name, schema in form.query.items()
        )
        (answer,) = await world.answers([request(form.method, f"{path}?{everything}&bogus=1")])
        assert roots(answer) == {*form.query, "bogus"}


def _schema_of_keys() -> Mapping[str, Any]:
    parameters = DOCUMENT["paths"]["/v1/tasks"]["post"]["parameters"]
    (found,) = [it["schema"] for it in parameters if it["name"] == "Idempotency-Key"]
    return dict(found)


@pytest.mark.parametrize("form", WITH_KEY, ids=lambda form: form.path)
async def test_every_wrong_idempotency_key_is_a_422(form: Form) -> None:
    keys = [key.strip(" \t") for key in wrong_words(_schema_of_keys())]
    body = None if form.example is None else json.dumps(form.example).encode()
    async with open_door() as door:
        world = await made(door)
        path = world.path(form)
        requests = [request(form.method, path, body, f"Idempotency-Key: {key}\r\n") for key in keys]
        requests.append(request(form.method, path, body, "Idempotency-Key: a\r\nIdempotency-Key: b\r\n"))
        for answer in await world.answers(requests):
            assert roots(answer) == {"idempotency_key"}, answer.body


KEY_HEADERS = ("Authorization:", "Authorization: Bearer", "X-API-Key:")


async def test_every_wrong_key_is_a_401_on_every_operation() -> None:
    async with open_door() as door:
        world = await made(door)
        closed = [form for form in FORMS if form.path.startswith("/v1/")]
        for number, form in enumerate(closed):
            wrong = [word.strip(" \t") for word in WORDS[number % 8 :: 8]]
            heads = [f"{name} {word}\r\n" for name in KEY_HEADERS for word in wrong]
            requests = [
                request(form.method, world.path(form), b"{}", head).replace(
                    b"X-API-Key: " + KEY.encode(), b"X: y"
                )
                for head in heads
            ]
            for answer in await world.answers(requests):
                assert answer.status == 401, answer
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_wrong_names_in_paths_are_404() -> None:
    words = [word for word in WORDS if word not in ("", ".", "..") and "/" not in quote(word, "%")]
    async with open_door() as door:
        world = await made(door)
        for number, form in enumerate(WITH_NAME):
            some = words[number % 3 :: 3]
            body = None if form.example is None else json.dumps(form.example).encode()
            (place,) = world.names.keys() & {part.strip("{}") for part in form.path.split("/")}
            requests = [request(form.method, world.path(form, **{place: quote(word)}), body) for word in some]
            for word, answer in zip(some, await world.answers(requests), strict=True):
                assert answer.status == 404, (form.path, word[:99], answer)


async def test_ids_and_traces_that_are_malformed_are_replaced_and_dropped() -> None:
    async with open_door() as door:
        world = await made(door)
        words = [word.strip(" \t") for word in WORDS if word.strip(" \t")]
        heads = [f"X-Request-Id: {word}\r\ntraceparent: {word}\r\n" for word in words]
        requests = [request("GET", "/v1/queues", None, head) for head in heads]
        for word, answer in zip(words, await world.answers(requests), strict=True):
            assert answer.status == 200
            assert answer.headers["x-request-id"] == word or len(answer.headers["x-request-id"]) == 16
