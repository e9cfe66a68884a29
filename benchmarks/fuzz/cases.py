"""Requests on connections: each case is one connection, made of a seed and a number alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final

from attrs import frozen

from benchmarks.fuzz.forms import Form, Request
from benchmarks.fuzz.mutations import garble, misspeak

_MOST: Final = 6
_CANARY: Final = "/healthz"


@frozen
class Case:
    """What goes over one connection.

    ``pieces`` are sent one by one. ``methods`` are those of the requests in it, in their order: each is due
    one answer, until one refuses the connection. None where the bytes are garbled: then the client closes its
    side, and at least one answer is due. With ``canary`` the last request is good and must succeed.
    """

    number: int
    pieces: Sequence[bytes]
    methods: Sequence[str] | None
    canary: bool = False

    @property
    def requests(self) -> int:
        """How many requests it counts as."""
        return 1 if self.methods is None else len(self.methods)


@frozen
class Cases:
    """``names`` are what paths may name, by parameter; ``key`` is a valid one."""

    seed: int
    forms: Sequence[Form]
    names: Mapping[str, list[str]]
    key: str

    @property
    def _weights(self) -> list[int]:
        """What takes a body can be wrong in more ways."""
        return [1 if form.example is None else 4 for form in self.forms]

    def case(self, number: int) -> Case:
        random = Random(f"{self.seed}/{number}")
        return self._garbled(number, random) if random.random() < 0.4 else self._misspoken(number, random)

    def _misspoken(self, number: int, random: Random) -> Case:
        requests = []
        for _ in range(random.randrange(1, _MOST)):
            (form,) = random.choices(self.forms, self._weights)
            request = self._request(form, random)
            for _ in range(random.choice((0, 0, 1, 1, 1, 2, 3))):
                misspeak(request, form, random)
            requests.append(request)
            if form.endless:
                break
        if canary := not form.endless and random.random() < 0.5:
            requests.append(Request("GET", _CANARY, [("Host", "a")], None))
        data = b"".join(request.wire(random) for request in requests)
        return Case(number, _cut(data, random), [request.method for request in requests], canary)

    def _garbled(self, number: int, random: Random) -> Case:
        data = b""
        while not data.strip(b"\r\n"):
            (form,) = random.choices(self.forms, self._weights)
            data = self._request(form, random).wire(random)
            for _ in range(random.choice((1, 1, 1, 2, 4))):
                data = garble(data, random)
        return Case(number, _cut(data, random), None)

    def _request(self, form: Form, random: Random) -> Request:
        request = form.request(random, self.names, self.key)
        request.chunked = random.random() < 0.2
        return request


def _cut(data: bytes, random: Random) -> Sequence[bytes]:
    """In odd pieces: mostly few, sometimes byte by byte."""
    if len(data) < 1_000 and random.random() < 0.05:
        return [data[at : at + 1] for at in range(len(data))]
    cuts = sorted(random.randrange(len(data)) for _ in range(random.choice((0, 0, 1, 2, 7))))
    return [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True) if a < b]
