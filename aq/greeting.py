"""What ``aq serve`` says once it is ready, and what it leaves for the command in its folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import define, field

from aq import devfile
from aq.storage import path_of
from aq.version import __version__

_WIDTH: Final = len("Dashboard") + 2


@define(kw_only=True)
class Greeting:
    """``key`` was made just now; ``rows`` are what else there is, and where."""

    url: str
    storage: str
    dev: bool
    key: str | None = field(default=None, repr=False)
    rows: list[tuple[str, str]] = field(factory=list)

    @contextmanager
    def left_at(self, path: Path | None, secrets: Sequence[object] | None) -> Iterator[None]:
        """The file by which the command finds this server, until the block is left; and a row about it.

        Without a path there is none. ``secrets`` are those that sign, None where the operator gave them: what
        he gave is written nowhere.
        """
        with ExitStack() as held:
            if path is not None:
                values = {devfile.URL: self.url}
                if self.key is not None:
                    values[devfile.KEY] = self.key
                if secrets is not None:
                    values[devfile.SECRET] = ",".join(map(str, secrets))
                try:
                    held.enter_context(devfile.kept(path, values))
                    self.rows.append(("Command", f"`aq` in this folder knows all this from {devfile.NAME}"))
                except devfile.DevFileError as error:
                    self.rows.append(("Command", f"`aq` does not know of this server: {error}"))
            yield

    def __str__(self) -> str:
        rows = [
            ("API", f"{self.url}/v1  (described at {self.url}/docs)"),
            *self.rows,
            ("Storage", _where(self.storage)),
        ]
        if self.key is not None:
            kept = "of this run" if self.dev else "kept as a hash: shown only now"
            rows.append(("API key", f"{self.key}  ({kept})"))
        lines = [f"AsyncQueue {__version__} is ready on {self.url}", ""]
        lines += [f"  {name.ljust(_WIDTH)}{text}" for name, text in rows]
        return "\n".join([*lines, *(self._first_steps() if self.dev else ())])

    def _first_steps(self) -> list[str]:
        hook = f"{self.url}/dev/receiver"
        task = f'''{{"queue": "hello", "webhook_url": "{hook}", "payload": {{"to": "world"}}}}'''
        curl = f'  curl -H "X-API-Key: {self.key or "$AQ_API_KEY"}"'
        return [
            "",
            "Send a task to this server's own receiver, then look at it:",
            f"{curl} -H 'Content-Type: application/json' -d '{task}' {self.url}/v1/tasks",
            f"{curl} '{self.url}/v1/tasks?queue=hello'",
            "and, with the id that it shows, at its attempts:",
            f"{curl} {self.url}/v1/tasks/$ID",
        ]


def _where(storage: str) -> str:
    path = path_of(storage)
    if path is None:
        return f"{storage}  (in memory: gone when this ends)"
    return storage if os.path.isabs(path) else f"{storage}  ({os.path.abspath(path)})"
