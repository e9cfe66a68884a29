"""One method for both clients.

A method is written once, as a function that returns a flow (`aq.client.core`). Seen through a `Client` it is
one that returns the flow's result, through an `AsyncClient` one to await. Type checkers know which is which,
and what it takes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

import msgspec
from attrs import frozen

from aq.client.call import Call, nothing, reads
from aq.client.core import Core, Flow
from aq.client.drivers import Async, Sync
from aq.client.fields import path
from aq.client.trace import NO_TRACE, Trace

P = ParamSpec("P")
T = TypeVar("T")
B = TypeVar("B")
S = TypeVar("S")
A = TypeVar("A")
K = TypeVar("K", bound=msgspec.Struct)
D = TypeVar("D", bound=Sync | Async)


class Resource(Generic[D]):
    """Some methods of a client, and what does their steps."""

    def __init__(self, core: Core, driver: D) -> None:
        self._core = core
        self._driver = driver

    def _post(
        self,
        kind: type[K],
        *segments: str,
        body: bytes | None = None,
        key: str | None = None,
        trace: Trace = NO_TRACE,
        repeatable: bool = True,
    ) -> Flow[K]:
        call = Call(
            method="POST",
            path=path(*segments),
            read=reads(kind),
            body=body,
            key=key,
            trace=trace,
            repeatable=repeatable,
        )
        return self._core.do(call)

    def _get(self, kind: type[K], *segments: str, query: str = "", holds: float = 0) -> Flow[K]:
        call = Call(method="GET", path=path(*segments) + query, read=reads(kind), holds=holds)
        return self._core.do(call)

    def _patch(self, kind: type[K], *segments: str, body: bytes) -> Flow[K]:
        return self._core.do(Call(method="PATCH", path=path(*segments), read=reads(kind), body=body))

    def _delete(self, *segments: str, gone_is_done: bool) -> Flow[None]:
        call = Call(method="DELETE", path=path(*segments), read=nothing, gone_is_done=gone_is_done)
        return self._core.do(call)


class method(Generic[P, T]):  # noqa: N801 - a decorator, as property is
    """Decorates a function that returns a flow."""

    def __init__(self, flow: Callable[Concatenate[Any, P], Flow[T]]) -> None:
        self.flow = flow
        self.face = Face.of(flow)

    @overload
    def __get__(self, resource: None, kind: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Sync], kind: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[Async], kind: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, resource: Resource[Any] | None, kind: type) -> Any:
        if resource is None:
            return self
        driver, flow = resource._driver, self.flow
        if isinstance(driver, Sync):

            def blocking(*args: P.args, **kwargs: P.kwargs) -> T:
                return driver.run(flow(resource, *args, **kwargs))

            return self.face.put_on(blocking)

        async def awaited(*args: P.args, **kwargs: P.kwargs) -> T:
            result: T = await driver.run(flow(resource, *args, **kwargs))
            return result

        return self.face.put_on(awaited)


class iterator(Generic[P, B, S, A]):  # noqa: N801 - a decorator, as property is
    """Decorates a function that says what to iterate over: with ``for`` or, by ``other``, ``async for``."""

    def __init__(
        self,
        what: Callable[Concatenate[Any, P], B],
        sync: Callable[[B, Sync], S],
        other: Callable[[B, Async], A],
    ) -> None:
        self.what, self.sync, self.other = what, sync, other
        self.face = Face.of(what, f"{getattr(sync, '__name__', '')} | {getattr(other, '__name__', '')}")

    @overload
    def __get__(self, resource: None, kind: type) -> Self: ...
    @overload
    def __get__(self, resource: Resource[Sync], kind: type) -> Callable[P, S]: ...
    @overload
    def __get__(self, resource: Resource[Async], kind: type) -> Callable[P, A]: ...
    def __get__(self, resource: Resource[Any] | None, kind: type) -> Any:
        if resource is None:
            return self
        driver = resource._driver

        def opened(*args: P.args, **kwargs: P.kwargs) -> S | A:
            what = self.what(resource, *args, **kwargs)
            return self.sync(what, driver) if isinstance(driver, Sync) else self.other(what, driver)

        return self.face.put_on(opened)


def iterates(
    sync: Callable[[B, Sync], S], other: Callable[[B, Async], A]
) -> Callable[[Callable[Concatenate[Any, P], B]], iterator[P, B, S, A]]:
    return lambda what: iterator(what, sync, other)


@frozen
class Face:
    """What ``help()`` and editors show of a method: its name, its words and every field that it takes."""

    name: str
    words: str | None
    signature: inspect.Signature

    @classmethod
    def of(cls, source: Callable[..., Any], result: str | None = None) -> Face:
        """Of a function that returns a flow, or of one whose result is looked at as something else."""
        shown = inspect.signature(source)
        parameters = [one for it in list(shown.parameters.values())[1:] for one in _unpacked(it, source)]
        returned = result or _inner("Flow", shown.return_annotation)
        signature = inspect.Signature(parameters, return_annotation=returned)
        return cls(source.__qualname__, source.__doc__, signature)

    def put_on(self, made: Any) -> Any:
        made.__name__, made.__qualname__ = self.name.rpartition(".")[2], self.name
        made.__doc__, made.__signature__ = self.words, self.signature
        return made


class _Default:
    """What the service takes for a field that is not given."""

    def __repr__(self) -> str:
        return "…"


def _unpacked(parameter: inspect.Parameter, source: Callable[..., Any]) -> list[inspect.Parameter]:
    """``**task: Unpack[TaskFields]`` as the fields that it stands for."""
    if parameter.kind is not parameter.VAR_KEYWORD:
        return [parameter]
    fields = source.__globals__[_inner("Unpack", parameter.annotation)].__annotations__
    shown = []
    for name, reference in fields.items():
        kind = reference.__forward_arg__
        default = parameter.empty if kind.startswith("Required[") else _Default()
        shown.append(
            inspect.Parameter(
                name, parameter.KEYWORD_ONLY, annotation=_inner("Required", kind), default=default
            )
        )
    return shown


def _inner(outer: str, annotation: str) -> str:
    return annotation[len(outer) + 1 : -1] if annotation.startswith(f"{outer}[") else annotation
