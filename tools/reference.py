"""The generated parts of docs/reference/: ``python -m tools.reference`` writes them, a test compares them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import click
import msgspec

from aq import keys, lifecycle, outcome, schedules, target, task
from aq.actors import holds, meter
from aq.api import app as _the_app  # noqa: F401  # every error of the API is known once it is imported
from aq.api import creation, events, framing, front, problems, room, wire
from aq.cli.serve import serve
from aq.delivery import connect, pool, protocol
from aq.errors import AsyncQueueError
from aq.outcome import ErrorType
from aq.storage import answers
from tools.docs import ROOT

BEGIN: Final = "<!-- generated: python -m tools.reference -->\n"

_MEANT: Final[Mapping[ErrorType, tuple[str, str]]] = {
    ErrorType.HTTP_4XX: ("a 4xx other than 410 and 429", "the receiver's reasons, in `response_body`"),
    ErrorType.HTTP_5XX: ("a 5xx", "the receiver's log"),
    ErrorType.HTTP_429: ("a 429", "a `rate_limit` for the queue, below what the receiver takes"),
    ErrorType.GONE: ("a 410, which ends the task", "whether somebody should still send there"),
    ErrorType.REDIRECT: ("a 3xx; redirects are not followed", "the address itself: use the one it leads to"),
    ErrorType.TIMEOUT: (
        "the attempt was not over within its `timeout`",
        "`timing_ms`: which step took so long",
    ),
    ErrorType.DNS: ("the name was not found, or the resolver failed", "the name; the machine's resolver"),
    ErrorType.CONNECT: ("no connection: refused, or no route", "whether the receiver runs, and where"),
    ErrorType.TLS: (
        "no TLS: a certificate that does not hold, or no handshake",
        "the certificate, its names and its chain",
    ),
    ErrorType.RESET: ("the connection broke, or the answer was not HTTP", "proxies and timeouts on the way"),
    ErrorType.BLOCKED: ("the destination is not one a webhook may go to", "`--allow`, if it should be"),
    ErrorType.EXPIRED: ("`expires_in` ran out; of a task only", "why it was late: `lateness_ms`, `explain`"),
    ErrorType.TOO_LARGE: ("the head of the answer was beyond all measure", "what answers there"),
    ErrorType.UNKNOWN: (
        "the service ended in mid-attempt, or a runner failed oddly",
        "whether the receiver did the work",
    ),
}
"""What each kind means, and what to look at."""

_LIMITS: Final[Mapping[str, tuple[tuple[str, str, str], ...]]] = {
    "A task": (
        ("a request with its payload", f"{framing.MAX_BODY_BYTES:,} bytes", "413"),
        ("nesting of a payload", f"{task.MAX_PAYLOAD_NESTING}", "422"),
        ("a URL", f"{target.MAX_LENGTH:,} characters", "422"),
        ("headers of its own", f"{task.MAX_HEADERS}, {task.MAX_HEADER_BYTES:,} bytes", "422"),
        ("`delay`, `run_at`", f"{lifecycle.MAX_AHEAD:,} s ahead (a year)", "422"),
        ("a batch", f"{creation.MOST_IN_A_BATCH:,} tasks", "422"),
        ("`ordering_key`, `tags`, `timeout` and the like", "[their rules](../api/tasks.md#create)", "422"),
    ),
    "An attempt": (
        ("the answer that is read", f"{protocol.MAX_RESPONSE_BYTES:,} bytes", "cut; the status decides"),
        ("the answer that is kept", f"{outcome.MAX_BODY:,} bytes, of a success 1,024", "cut"),
        ("the reason in words", f"{outcome.MAX_ERROR:,} characters", "cut"),
        ("`Retry-After` of a receiver", f"{lifecycle.MAX_RETRY_AFTER:,} s (a day)", "a day"),
        (
            "`unknown` attempts in a row at no cost",
            f"{lifecycle.UNKNOWNS_FORGIVEN}",
            "each further one is a failure",
        ),
        (
            "names looked up at once",
            f"{connect.MAX_LOOKUPS}, of one domain {connect.MAX_LOOKUPS_OF_A_DOMAIN}",
            "they wait",
        ),
        (
            "idle connections kept",
            f"{pool.MAX_IDLE}, of one destination {pool.MAX_IDLE_PER_DESTINATION}",
            "the oldest is closed",
        ),
    ),
    "A request": (
        ("request line and headers", f"{wire.MAX_HEAD_BYTES:,} bytes, {wire.MAX_HEADERS} headers", "431"),
        (
            "open connections",
            f"{front.MAX_CONNECTIONS:,}, fewer where open files are few",
            "503, then closed",
        ),
        ("bytes of requests not yet answered", f"{room.MAX_HELD_BYTES:,}", "503"),
        ("`?wait=`", "60 s", "422"),
        ("`limit`, `offset` of a list", "100; 10,000", "422; use a cursor"),
        ("tasks that a filtered page looks at", f"{answers.MOST_LOOKED_AT:,}", "a short page, with a cursor"),
    ),
    "The service": (
        ("attempts in flight", "`--max-attempts`, 1,000", "queues take turns"),
        ("API keys; schedules", f"{keys.MAX_KEYS:,}; {schedules.MAX_SCHEDULES:,}", "409"),
        ("event streams", f"{events.MAX_STREAMS:,}", "503"),
        (
            "queues with series of their own in `/v1/stats`",
            f"{meter.MAX_QUEUES:,}",
            "the one idle for longest is forgotten",
        ),
        (
            "destinations remembered as held",
            f"{holds.MOST_HELD:,}",
            "the one that is free first is forgotten",
        ),
        ("queues", "none", "each costs a row, and memory while it is busy"),
        ("tasks", "the disk", "503 to writes while it is full"),
    ),
}
"""What, how much, and what happens beyond it; by what it is a limit of."""


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """In Markdown."""
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def configuration() -> str:
    """Every option of ``aq serve``."""
    rows = []
    for option in serve.params:
        if isinstance(option, click.Option) and option.name is not None:
            names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
            key = "" if option.name == "config" else f"`{option.name}`"
            rows.append((names, f"`AQ_{option.name.upper()}`", key, _default(option), option.help or ""))
    return "\n" + table(("option", "variable", "key in `aq.toml`", "default", ""), rows)


def _default(option: click.Option) -> str:
    value = option.to_info_dict()["default"]
    if option.is_flag or value in (None, (), []):
        return "on" if value is True else "off" if option.is_flag else ""
    return f"`{value}`" if isinstance(value, str | int | float) else ""


def errors() -> str:
    """Every kind of problem, and every error type."""
    ours = {(kind.status, kind.title) for kind in every(AsyncQueueError) if kind.status != 500}
    kinds = sorted({*ours, *problems.TITLES.items()})
    told = ((str(status), title, f"`{slug(status, title)}`") for status, title in kinds)
    types = ((f"`{kind}`", *_MEANT[kind]) for kind in ErrorType)
    return (
        f"\n## Problems\n\n{table(('status', 'title', 'type'), told)}"
        f"\n## Error types\n\n{table(('`error_type`', 'what happened', 'look at'), types)}"
    )


def slug(status: int, title: str) -> str:
    told: str = msgspec.json.decode(problems.problem(status, title, ""))["type"]
    return told


def every(kind: type[AsyncQueueError]) -> Iterator[type[AsyncQueueError]]:
    """The kinds that the engine and the API know; those of the command and the clients are told elsewhere."""
    if not kind.__module__.startswith(("aq.cli", "aq.client", "tests")):
        yield kind
    for below in kind.__subclasses__():
        yield from every(below)


def limits() -> str:
    """By what they are limits of."""
    parts = (f"\n## {title}\n\n{table(('', 'limit', 'beyond it'), rows)}" for title, rows in _LIMITS.items())
    return "".join(parts)


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    "configuration.md": configuration,
    "errors.md": errors,
    "limits.md": limits,
}


def written(name: str) -> str:
    """The page with its generated part as it is now."""
    page = (ROOT / "docs/reference" / name).read_text()
    return re.split(re.escape(BEGIN), page)[0] + BEGIN + PARTS[name]()


if __name__ == "__main__":
    for name in PARTS:
        (ROOT / "docs/reference" / name).write_text(written(name))
