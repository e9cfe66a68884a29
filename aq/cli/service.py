"""The service that a command talks to: where it is, with which key, and what its refusals mean."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from aq.cli.ends import Code, Failure
from aq.cli.output import json_option

if TYPE_CHECKING:
    from aq.client import APIError

F = TypeVar("F", bound=Callable[..., Any])
DEFAULT_URL: Final = "http://127.0.0.1:8080"

url_option = click.option("--url", envvar="AQ_URL", help="Where the service is.  [also: AQ_URL, .aq.env]")
key_option = click.option(
    "--api-key", envvar="AQ_API_KEY", metavar="KEY", help="The key.  [also: AQ_API_KEY, .aq.env]"
)


def remote(command: F) -> F:
    """Gives a command ``--url``, ``--api-key`` and ``--json``; it is called with a client and ``as_json``."""

    @url_option
    @key_option
    @json_option
    @functools.wraps(command)
    def connected(url: str | None, api_key: str | None, as_json: bool, **options: Any) -> Any:
        from aq.client import Client

        url, api_key = address(url, api_key)
        with told(url):
            try:
                client = Client(url, api_key)
            except ValueError as error:
                raise click.UsageError(str(error)) from None
            with client:
                return command(client, as_json, **options)

    return connected  # type: ignore[return-value]  # Click fills in what its options give


def dev_values() -> dict[str, str]:
    """What the `aq serve --dev` of this folder left. Raises UsageError for a file not to be trusted."""
    from aq.devfile import NAME, DevFileError, read

    try:
        return read(Path(NAME))
    except DevFileError as error:
        raise click.UsageError(str(error)) from None


def address(url: str | None, key: str | None) -> tuple[str, str]:
    """The service's URL and a key for it: as given, else of this folder's `aq serve --dev`.

    That one's key goes nowhere else. Raises UsageError where there is no key.
    """
    from aq.devfile import KEY, URL

    found = dev_values() if url is None or key is None else {}
    url = (url or found.get(URL) or DEFAULT_URL).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise click.UsageError(f"--url (or AQ_URL) begins with http:// or https://, as in {DEFAULT_URL}")
    if key is None and url == found.get(URL):
        key = found.get(KEY)
    if key is None:
        raise click.UsageError(
            f"no API key for {url}: set AQ_API_KEY, or give --api-key"
            " (neither is needed in the folder where `aq serve --dev` runs)"
        )
    return url, key


@contextmanager
def told(url: str) -> Iterator[None]:
    """What the client raises, as the end of a command: its exit code, and what to do next."""
    from aq.client import APIError

    try:
        yield
    except APIError as error:
        raise _failure(error, url) from None


def _failure(error: APIError, url: str) -> Failure:
    from aq.client import (
        AuthenticationError,
        ConnectionFailed,
        NotFound,
        TimedOut,
        Unavailable,
        ValidationFailed,
    )

    details: dict[str, Any] = {"status": error.status, "request_id": error.request_id}
    if isinstance(error, ConnectionFailed | TimedOut | Unavailable):  # what it asked for may be done
        details["idempotency_key"] = error.idempotency_key
    code, hint = Code.FAILED, None
    match error:
        case NotFound():
            code = Code.NOT_FOUND
        case ConnectionFailed() | TimedOut():
            code = Code.UNREACHABLE
            hint = (
                "Does it run? `make serve` starts one on this machine; --url or AQ_URL names another address."
            )
        case AuthenticationError():
            hint = (
                "Set AQ_API_KEY, or give --api-key. A key from .aq.env is good for the `aq serve --dev` that"
                " wrote it: if another server runs there now, start that one in this folder."
            )
        case ValidationFailed():
            code = Code.USAGE
            details["errors"] = [{"field": it.field, "message": it.message} for it in error.errors]
    found = {name: value for name, value in details.items() if value is not None}
    return Failure(str(error), code, hint=hint, details=found)
