"""``aq secret``, ``aq sign``, ``aq verify``: signatures without a service."""

from __future__ import annotations

import secrets as token
import time
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from aq.cli.ends import Failure
from aq.cli.output import json_option, print_json

if TYPE_CHECKING:
    from aq.delivery.signing import Secret

F = TypeVar("F", bound=Callable[..., Any])

secret_option: Callable[[F], F] = click.option(
    "--secret",
    "secrets",
    envvar="AQ_SIGNING_SECRET",
    metavar="WHSEC",
    help="whsec_…, or two with a comma between.  [also: AQ_SIGNING_SECRET]",
)


@click.command()
@json_option
def secret(as_json: bool) -> None:
    """Make a signing secret.

    \b
    Give it to the service and to your receivers:
      AQ_SIGNING_SECRET=$(aq secret) aq serve
    """
    from aq.delivery.signing import new_secret

    made = str(new_secret(token.token_bytes))
    if as_json:
        print_json({"secret": made})
    else:
        click.echo(made)


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--data", "-d", help="The body itself, in place of FILE.")
@click.option("--id", "message_id", default="task_example", show_default=True, help="The webhook-id.")
@click.option("--at", type=click.IntRange(0), metavar="UNIX", help="The time to sign for.  [default: now]")
@secret_option
@json_option
def sign(
    file: IO[bytes], data: str | None, message_id: str, at: int | None, secrets: str | None, as_json: bool
) -> None:
    """Sign a body as the service does, and print the headers.

    FILE is the body, byte for byte; - is stdin.

    \b
    Try your receiver without a service:
      aq sign --secret whsec_… -d '{"n": 1}'
    """
    from aq.delivery.signing import sign as sign_body

    body = file.read() if data is None else data.encode()
    headers = sign_body(parsed(secrets), message_id, int(time.time()) if at is None else at, body)
    if as_json:
        print_json(dict(headers))
    else:
        click.echo("\n".join(f"{name}: {value}" for name, value in headers))


@click.command()
@click.argument("file", type=click.File("rb"), default="-")
@click.option("--data", "-d", help="The body itself, in place of FILE.")
@click.option(
    "--header",
    "-H",
    "headers",
    multiple=True,
    metavar="'NAME: VALUE'",
    help="A header as it was received; repeatable. The webhook-… ones, or x-asyncqueue-signature.",
)
@click.option(
    "--tolerance", type=click.IntRange(0), default=300, show_default=True, help="Seconds of age allowed."
)
@secret_option
@json_option
def verify(
    file: IO[bytes],
    data: str | None,
    headers: Sequence[str],
    tolerance: int,
    secrets: str | None,
    as_json: bool,
) -> None:
    """Verify a webhook's signature, and say why it fails.

    FILE is the body, byte for byte; - is stdin. Exit code 0: it holds, 1: it does not.

    \b
    With a body that was kept in a file:
      aq verify body.json --secret whsec_… -H 'webhook-id: task_…' \\
          -H 'webhook-timestamp: 1769851800' -H 'webhook-signature: v1,…'
    """
    from aq.delivery.diagnosis import why_not
    from aq.instants import from_seconds

    known, found = parsed(secrets), _headers(headers)
    body = file.read() if data is None else data.encode()
    if reason := why_not(found, body, known, from_seconds(time.time()), tolerance):
        raise Failure(f"the signature does not hold: {reason}", details={"valid": False, "reason": reason})
    if as_json:
        print_json({"valid": True})
    else:
        click.echo("the signature holds")


def parsed(secrets: str | None) -> tuple[Secret, ...]:
    """Raises UsageError for none and for what is no secret."""
    from aq.delivery.signing import parse_secrets

    if secrets is None:
        raise click.UsageError("give --secret whsec_…, or set AQ_SIGNING_SECRET")
    try:
        return parse_secrets(secrets)
    except ValueError as error:
        raise click.UsageError(f"--secret: {error}") from None


def _headers(lines: Sequence[str]) -> dict[str, str]:
    pairs = [line.partition(":") for line in lines]
    for name, colon, _ in pairs:
        if not colon:
            raise click.UsageError(f"--header must be 'NAME: VALUE', not {name!r}")
    return {name.strip(): value.strip() for name, _, value in pairs}
