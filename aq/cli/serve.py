"""``aq serve``."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aq.cli.ends import Failure
from aq.cli.settings import read_settings

if TYPE_CHECKING:
    from aq.server import Settings


@click.command(
    context_settings={"auto_envvar_prefix": "AQ", "show_default": True},
    epilog="Every option is also a variable AQ_… (--port is AQ_PORT) and a key in aq.toml (port = 8080). "
    "AQ_API_KEY is a key that may do everything while it is set; AQ_SIGNING_SECRET signs the webhooks.",
)
@click.option("--host", default="127.0.0.1", help="Address to listen on; 0.0.0.0 is every one of IPv4.")
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8080, help="Port to listen on; 0 is any free."
)
@click.option(
    "--storage", default="sqlite:///aq.db", metavar="URL", help="Where tasks live: sqlite:///PATH or memory:"
)
@click.option(
    "--dev", is_flag=True, help="Loopback only, webhooks to loopback allowed, a fresh key, /dev/receiver."
)
@click.option(
    "--allow",
    multiple=True,
    metavar="CIDR",
    help="A network that webhooks may go to although it is not public; repeatable. Example: 10.1.0.0/16",
)
@click.option(
    "--grace", type=click.FloatRange(0), default=8, help="Seconds that running attempts get at the end."
)
@click.option(
    "--max-attempts",
    type=click.IntRange(1),
    default=1_000,
    help="Attempts in flight over all queues; never above the limit of open files less 200.",
)
@click.option(
    "--lane/--no-lane",
    default=True,
    help="Whether good requests for new tasks are answered in front of the web framework, which is faster.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65_535),
    help="Port of their own for /metrics, which is then gone from --port.  [default: none]",
)
@click.option("--metrics-host", default="127.0.0.1", help="Address that --metrics-port is on.")
@click.option(
    "--log-format",
    type=click.Choice(("auto", "console", "json")),
    default="auto",
    help="How stderr is written: for people, or a JSON object a line; auto is for people on a terminal.",
)
@click.option(
    "--log-level",
    type=click.Choice(("debug", "info", "warning", "error")),
    default="info",
    help="The least that is logged: debug has every request and attempt, info the attempts that failed.",
)
@click.option(
    "--otel",
    is_flag=True,
    help="Send spans to an OpenTelemetry collector, which OTEL_EXPORTER_OTLP_ENDPOINT and its like name.",
)
@click.option(
    "--tls-cert",
    type=click.Path(dir_okay=False),
    help="Speak HTTPS with this certificate chain (PEM).  [default: none]",
)
@click.option(
    "--tls-key",
    type=click.Path(dir_okay=False),
    help="Its key (PEM, no passphrase), where that is not in the same file.  [default: none]",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    help="Processes. A store of this version is one process's own, so it is 1.",
)
@click.option(
    "--config",
    is_eager=True,
    expose_value=False,
    callback=read_settings,
    metavar="FILE",
    help="Settings file.  [default: aq.toml, where there is one]",
)
def serve(
    host: str,
    port: int,
    storage: str,
    dev: bool,
    allow: tuple[str, ...],
    grace: float,
    max_attempts: int,
    lane: bool,
    metrics_port: int | None,
    metrics_host: str,
    log_format: str,
    log_level: str,
    otel: bool,
    tls_cert: str | None,
    tls_key: str | None,
    workers: int,
) -> None:
    """Run the service.

    \b
    To try it, with SQLite in ./aq.db:
      aq serve --dev
    In earnest:
      AQ_API_KEY=aq_live_… aq serve --host 0.0.0.0 --storage sqlite:////var/lib/aq/aq.db

    SIGTERM ends it in good order: new requests get 503, running attempts may finish. A second one
    ends it at once.
    """
    if workers > 1:
        raise click.UsageError(
            f"--workers {workers}: a memory: or sqlite:/// store belongs to one process, which uses one core;"
            " for more, run several services, each with a store of its own"
        )
    from aq import devfile
    from aq.server import Settings
    from aq.telemetry.logs import configure

    settings = Settings(
        host=host,
        port=port,
        storage=storage,
        dev=dev,
        allow=tuple(network for text in allow for network in text.replace(",", " ").split()),
        grace=grace,
        max_attempts=max_attempts,
        lane=lane,
        metrics_port=metrics_port,
        metrics_host=metrics_host,
        otel=otel,
        tls_cert=tls_cert,
        tls_key=tls_key,
        api_key=os.environ.get("AQ_API_KEY") or None,
        signing_secret=os.environ.get("AQ_SIGNING_SECRET") or None,
        dev_file=Path(devfile.NAME) if dev else None,
    )
    _check(settings)
    configure(log_format, log_level, sys.stderr)
    _run(settings)


def _check(settings: Settings) -> None:
    """Raises UsageError for what no start could mend."""
    from aq.apikey import check_key
    from aq.delivery.addresses import Guard
    from aq.delivery.signing import parse_secrets
    from aq.errors import ValidationError
    from aq.storage import open_storage

    if math.isnan(settings.grace):  # it is in every range
        raise click.UsageError("--grace must be a number of seconds")
    if settings.dev and not _is_loopback(settings.host):
        raise click.UsageError(f"--dev is for this machine only: --host {settings.host} is not loopback")
    if settings.otel and not _has_otel():
        raise click.UsageError("--otel needs the extra otel: pip install 'asyncqueue[otel]'")
    _check_tls(settings.tls_cert, settings.tls_key)
    _expect("--allow", Guard, settings.allow)
    _expect("AQ_API_KEY", check_key, settings.api_key, "without it a first key is made and printed")
    _expect("AQ_SIGNING_SECRET", parse_secrets, settings.signing_secret, "`aq secret` makes one")
    try:
        open_storage(settings.storage)
    except ValidationError as error:
        raise click.UsageError(f"--{error}") from None


def _check_tls(certificate: str | None, key: str | None) -> None:
    from aq.api.tls import server_context

    if certificate is None:
        if key is not None:
            raise click.UsageError("--tls-key needs --tls-cert")
        return
    try:
        server_context(certificate, key)
    except OSError as error:
        raise click.UsageError(f"--tls-cert and --tls-key: {error.strerror or error}") from None


def _has_otel() -> bool:
    try:
        import aq.telemetry.export  # noqa: F401
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "opentelemetry":
            return False
        raise
    return True


def _expect(name: str, check: Callable[[Any], object], value: object, hint: str | None = None) -> None:
    """A value that is set must pass the check, which raises ValueError; the hint says what else there is."""
    try:
        if value is not None:
            check(value)
    except ValueError as error:
        raise click.UsageError(f"{name}: {error}{f' ({hint})' if hint else ''}") from None


def _run(settings: Settings) -> None:
    import trio

    from aq.errors import AsyncQueueError
    from aq.server import BootClock, collect_seldom, serve

    try:
        collect_seldom()
        trio.run(serve, settings, click.echo, clock=BootClock())
    except AsyncQueueError as error:
        raise Failure(str(error)) from None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
