"""What ``aq serve`` says once it is ready. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import field, frozen

_WIDTH: Final = len("Dashboard") + 2


@frozen(kw_only=True)
class Greeting:
    """``key`` was made just now; ``rows`` are further lines of the table."""

    version: str
    url: str
    storage: str
    dev: bool
    key: str | None = field(default=None, repr=False)
    rows: Sequence[tuple[str, str]] = ()

    def __str__(self) -> str:
        rows = [
            ("API", f"{self.url}/v1  (described at {self.url}/docs)"),
            *self.rows,
            ("Storage", self.storage),
        ]
        if self.key is not None:
            rows.append(("API key", f"{self.key}  {self._keyed()}"))
        lines = [f"AsyncQueue {self.version} is ready on {self.url}", ""]
        lines += [f"  {name.ljust(_WIDTH)}{text}" for name, text in rows]
        return "\n".join([*lines, *(self._first_steps() if self.dev else ())])

    def _keyed(self) -> str:
        return "(of this run)" if self.dev else "(kept as a hash: shown only now)"

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
