"""How actors are spoken to: one-shot replies, and mailboxes with a bound for callers."""

from __future__ import annotations

import math
from typing import TypeVar

import trio

from aq.actors.messages import Message, Request, Stop
from aq.errors import AsyncQueueError, OverloadedError

M = TypeVar("M")


class MailboxClosedError(AsyncQueueError):
    """Its owner has retired: ask the root supervisor for the queue's present mailbox."""


class Mailbox:
    """A Trio memory channel into one actor, with two kinds of mail.

    *Requests* come from callers: at most ``limit`` of them wait, further ones are refused at once with
    OverloadedError. *Reports* (an attempt ended, a write settled) are never refused: they answer something
    the actor began, so their number is bounded by what it has under way.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._requests = 0
        self._refusal: AsyncQueueError | None = None
        self._send, self._receive = trio.open_memory_channel[Message](math.inf)

    def offer(self, request: Request) -> None:
        """Raises OverloadedError when full, MailboxClosedError (or what it was closed with) when closed."""
        if self._refusal is not None:
            raise self._refusal
        if self._requests >= self._limit:
            raise OverloadedError(f"{self._limit:,} requests wait for this queue already; try again soon")
        self._requests += 1
        self._send.send_nowait(request)

    def report(self, message: Message) -> None:
        """Mail from the actor's own helpers; after it has gone, mail for nobody."""
        self._send.send_nowait(message)

    async def receive(self) -> Message:
        """The next message, as soon as there is one."""
        return self._taken(await self._receive.receive())

    def take(self, most: int) -> list[Message]:
        """What lies there, at most ``most`` messages, without waiting."""
        return [self._taken(self._receive.receive_nowait()) for _ in range(min(most, len(self)))]

    def forget_reports(self) -> None:
        """Throw away the reports that lie there, which were for an owner that has crashed; keep a Stop."""
        for message in self.take(len(self)):
            if isinstance(message, Request | Stop):
                self._requests += isinstance(message, Request)
                self._send.send_nowait(message)

    def close(self, refusal: AsyncQueueError | None = None) -> None:
        """From now on requests are refused with ``refusal``; reports still arrive."""
        self._refusal = refusal or MailboxClosedError("this mailbox is closed")

    @property
    def closed(self) -> bool:
        return self._refusal is not None

    def __len__(self) -> int:
        return self._receive.statistics().current_buffer_used

    def _taken(self, message: Message) -> Message:
        if isinstance(message, Request):
            self._requests -= 1
        return message
