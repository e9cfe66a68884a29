"""``aq receive``: a webhook target that shows what arrives."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from aq.cli.ends import Failure
from aq.cli.output import json_option, say
from aq.cli.signatures import parsed, secret_option

if TYPE_CHECKING:
    from aq.cli.listener import Arrived
    from aq.delivery.signing import Secret

_REFUSED: Final = 401
_FAILING: Final = 500
_MOST_SHOWN: Final = 200


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65_535),
    default=9000,
    show_default=True,
    help="Port to listen on; 0: any free.",
)
@click.option(
    "--status",
    type=click.IntRange(200, 599),
    default=200,
    show_default=True,
    help="What to answer, where the signature holds.",
)
@click.option(
    "--fail", type=click.IntRange(0), default=0, help="Answer 500 to so many requests first, then --status."
)
@click.option("--delay", type=click.FloatRange(0, 900), default=0, help="Seconds to wait before the answer.")
@click.option("--count", type=click.IntRange(1), help="End after so many requests.  [default: at ^C]")
@secret_option
@json_option
def receive(
    host: str,
    port: int,
    status: int,
    fail: int,
    delay: float,
    count: int | None,
    secrets: str | None,
    as_json: bool,
) -> None:
    """Listen for webhooks; print and verify each one.

    Without --secret the one of this folder's `aq serve --dev` is taken; without that nothing is verified.
    What does not verify is answered 401. With --json there is a line of JSON for each request.

    \b
    As a receiver that is down:
      aq receive --port 9000 --status 503
    As one that recovers at the third attempt:
      aq receive --port 9000 --fail 2
    """
    from aq.cli.loop import run

    known = parsed(secrets) if secrets is not None else _of_this_folder()
    show = _Lines(known, status, fail, delay, count, as_json)
    try:
        run(_receive, host, port, show)
    except OSError as error:
        raise Failure(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            hint="Another program may use it: try --port 0.",
        ) from None


def _of_this_folder() -> tuple[Secret, ...]:
    from aq.cli.service import dev_values
    from aq.devfile import SECRET

    found = dev_values().get(SECRET)
    return () if found is None else parsed(found)


async def _receive(host: str, port: int, show: _Lines) -> None:
    import trio

    from aq.cli.listener import listen

    async with trio.open_nursery() as nursery:
        url = await nursery.start(listen, host, port, show.answer)
        how = "verifying signatures" if show.secrets else "verifying NOTHING (there is no --secret)"
        say(f"aq receive is ready on {url}  {how}, answering {show.promise}; ^C to stop")
        await show.seen_all()
        nursery.cancel_scope.cancel()


class _Lines:
    """What was received, told line by line."""

    def __init__(
        self,
        secrets: Sequence[Secret],
        status: int,
        fail: int,
        delay: float,
        count: int | None,
        as_json: bool,
    ) -> None:
        import trio

        self.secrets = secrets
        self.promise = f"{fail} × {_FAILING}, then {status}" if fail else str(status)
        self._status = status
        self._failing = fail
        self._delay = delay
        self._left = count
        self._as_json = as_json
        self._over = trio.Event()

    async def seen_all(self) -> None:
        """Until as many were answered as were asked for."""
        await self._over.wait()

    async def answer(self, request: Arrived) -> int:
        import trio

        from aq.delivery.diagnosis import why_not
        from aq.instants import from_seconds

        now = time.time()
        reason = (
            why_not(request.headers, request.body, self.secrets, from_seconds(now)) if self.secrets else None
        )
        status = self._next_status() if reason is None else _REFUSED
        if not self._as_json:
            click.echo(f"{_clock(now)} --> {request.method} {_one_line(request, self._verdict(reason))}")
        await trio.sleep(self._delay)
        if self._as_json:
            click.echo(json.dumps(self._document(request, reason, now, status), ensure_ascii=False))
        else:
            click.echo(f"{_clock(time.time())} <-- {status}")
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._over.set()
        return status

    def _next_status(self) -> int:
        if self._failing <= 0:
            return self._status
        self._failing -= 1
        return _FAILING

    def _verdict(self, reason: str | None) -> str:
        if not self.secrets:
            return "not verified"
        return "signature ok" if reason is None else f"SIGNATURE WRONG: {reason}"

    def _document(self, request: Arrived, reason: str | None, now: float, status: int) -> dict[str, Any]:
        from aq.instants import from_seconds, to_rfc3339

        return {
            "at": to_rfc3339(from_seconds(now)),
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": request.body.decode("utf-8", "replace"),
            "verified": None if not self.secrets else reason is None,
            "reason": reason,
            "status": status,
        }


def _clock(now: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(now))


def _one_line(request: Arrived, verdict: str) -> str:
    """Where it went, what it is, whether it is true, and what it carries."""
    from aq.texts import one_line

    text = request.body.decode("utf-8", "replace")
    parts = [request.target]
    try:
        found = json.loads(text)
        parts += [str(found["queue"]), str(found["task_id"]), f"attempt {found['attempt']}"]
        text = json.dumps(found["payload"], ensure_ascii=False)
    except (ValueError, KeyError, TypeError):
        pass
    return one_line("  ".join([*parts, verdict, text[:_MOST_SHOWN]]))
