"""A webhook URL taken apart, strictly. Pure.

Only what every HTTP client reads alike is let in: printable ASCII, http or https, a host, no credentials,
no fragment. Nothing is normalised; the path and query go over the wire as they were given. (Clients that
normalise turn a full-width ``127。0。0。1`` into loopback behind a guard's back.)
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from typing import Final, NamedTuple

MAX_LENGTH: Final = 2_048
_DESTINATION: Final = (
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_.])?)"
    r"(?::(?P<port>[0-9]{1,5}))?"
)
_URL: Final = re.compile(_DESTINATION + r"(?P<path>/[!-\"$-~]*)?(?P<query>\?[!-\"$-~]*)?")


def _unnamed(pattern: str) -> str:
    return re.sub(r"\?P<[a-z]+>", "?:", pattern)


PATTERN: Final = _unnamed(_URL.pattern)
"""What a webhook URL matches as a whole, without groups that have names."""
DESTINATION_PATTERN: Final = _unnamed(_DESTINATION) + "/?"
"""The same of a destination."""
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Destination(NamedTuple):
    """Who is spoken to: what a connection is shared by. ``host`` is lower case and has no brackets."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """The Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


class Target(NamedTuple):
    """A destination and the request target (path and query) asked of it."""

    destination: Destination
    path: str


@lru_cache(maxsize=4_096)
def parse_target(url: str) -> Target:
    """Raises ValueError saying what a webhook URL must be."""
    if len(url) > MAX_LENGTH:
        raise ValueError(f"must be at most {MAX_LENGTH:,} characters long")
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError(_complaint(url))
    scheme, host = match["scheme"].lower(), match["host"].lower()
    port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
    if not 0 < port < 65_536:
        raise ValueError("must have a port from 1 to 65535")
    if host.startswith("["):
        host = host[1:-1]
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise ValueError("must have a valid IPv6 address in its brackets") from None
    return Target(Destination(scheme, host, port), (match["path"] or "/") + (match["query"] or ""))


def _complaint(url: str) -> str:
    if not url.lower().startswith(("http://", "https://")):
        return "must be an absolute http:// or https:// URL"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "must be printable ASCII without spaces: percent-encode the rest, write hosts in punycode"
    if "#" in url:
        return "must not have a fragment (#…)"
    if "@" in url.split("/")[2]:
        return "must not carry credentials; sign or authenticate with headers instead"
    return "must be an absolute http:// or https:// URL with a host"
