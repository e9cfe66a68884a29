"""Where a webhook may go: public addresses, and the networks that were opened by name. Pure.

`ipaddress.is_global` is not enough: it lets multicast, 6to4, NAT64 and the cloud vendors' own addresses
through. So the ranges are listed here, each with its source. For IPv6 only 2000::/3, all that IANA has given
out for global unicast, and the well-known NAT64 prefix are open at all.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple, TypeAlias

from aq.target import Target

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network


class Range(NamedTuple):
    """Addresses that a webhook may not go to, and what they are, to follow "which is"."""

    network: Network
    what: str


def _range(network: str, what: str) -> Range:
    return Range(ip_network(network), what)


# RFC numbers name the document that sets the range apart. Here is every block of IANA's registries of
# special-purpose addresses (iana-ipv4-special-registry, iana-ipv6-special-registry), those that are reachable
# but nobody's own too, and multicast; "vendor" marks what a cloud took itself.
REFUSED_V4: Final = (
    _range("0.0.0.0/8", "an unspecified address (RFC 791, RFC 1122)"),
    _range("10.0.0.0/8", "a private address (RFC 1918)"),
    _range("100.100.100.200/32", "a cloud metadata address (vendor: Alibaba Cloud)"),
    _range("100.64.0.0/10", "a carrier-grade NAT address (RFC 6598)"),
    _range("127.0.0.0/8", "a loopback address (RFC 1122)"),
    _range("168.63.129.16/32", "a cloud metadata address (vendor: Azure)"),
    _range("169.254.169.254/32", "a cloud metadata address (vendor: AWS, Azure, Google Cloud and others)"),
    _range("169.254.0.0/16", "a link-local address (RFC 3927)"),
    _range("172.16.0.0/12", "a private address (RFC 1918)"),
    _range("192.0.0.192/32", "a cloud metadata address (vendor: Oracle Cloud)"),
    _range("192.0.0.0/24", "an address for IETF protocols (RFC 6890)"),
    _range("192.0.2.0/24", "an address for documentation (RFC 5737)"),
    _range("192.31.196.0/24", "an AS112 address (RFC 7535)"),
    _range("192.52.193.0/24", "a multicast relay address (RFC 7450)"),
    _range("192.88.99.0/24", "a 6to4 relay address (RFC 7526)"),
    _range("192.168.0.0/16", "a private address (RFC 1918)"),
    _range("192.175.48.0/24", "an AS112 address (RFC 7534)"),
    _range("198.18.0.0/15", "an address for benchmarks (RFC 2544)"),
    _range("198.51.100.0/24", "an address for documentation (RFC 5737)"),
    _range("203.0.113.0/24", "an address for documentation (RFC 5737)"),
    _range("224.0.0.0/4", "a multicast address (RFC 5771)"),
    _range("255.255.255.255/32", "the broadcast address (RFC 919)"),
    _range("240.0.0.0/4", "a reserved address (RFC 1112)"),
)
REFUSED_V6: Final = (
    _range("::/128", "an unspecified address (RFC 4291)"),
    _range("::1/128", "a loopback address (RFC 4291)"),
    _range("::/96", "an IPv4-compatible address (RFC 4291, deprecated)"),
    _range("64:ff9b:1::/48", "a local NAT64 address (RFC 8215)"),
    _range("100::/64", "a discard-only address (RFC 6666)"),
    _range("100:0:0:1::/64", "a dummy address (RFC 9780)"),
    _range("2001::/32", "a Teredo address (RFC 4380)"),
    _range("2001:db8::/32", "an address for documentation (RFC 3849)"),
    _range("2001::/23", "an address for IETF protocols (RFC 2928)"),
    _range("2620:4f:8000::/48", "an AS112 address (RFC 7534)"),
    _range("3fff::/20", "an address for documentation (RFC 9637)"),
    _range("5f00::/16", "a segment-routing address (RFC 9602)"),
    _range("fd00:ec2::/32", "a cloud metadata address (vendor: AWS)"),
    _range("fd20:ce::254/128", "a cloud metadata address (vendor: Google Cloud)"),
    _range("fc00::/7", "a private address (RFC 4193)"),
    _range("fe80::/10", "a link-local address (RFC 4291)"),
    _range("fec0::/10", "a site-local address (RFC 3879)"),
    _range("ff00::/8", "a multicast address (RFC 4291)"),
)
GLOBAL_UNICAST: Final = IPv6Network("2000::/3")  # RFC 4291, iana-ipv6-unicast-address-assignments
NAT64: Final = IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address
SIX_TO_FOUR: Final = IPv6Network("2002::/16")  # RFC 3056: the next 32 bits are an IPv4 address
MAPPED: Final = IPv6Network("::ffff:0:0/96")  # RFC 4291: the last 32 bits are an IPv4 address
ISATAP: Final = (
    0x0000_5EFE  # RFC 5214: after this and any 64-bit prefix, the last 32 bits are an IPv4 address
)
_ISATAP_MASK: Final = 0xFDFF_FFFF  # all but the bit that says whether the address inside is unique worldwide

LOOPBACKS: Final = ("127.0.0.1", "::1")


class Guard:
    """Judges addresses. ``allowed`` networks are open whatever the tables say.

    An IPv4-mapped IPv6 address is the IPv4 address inside: the connection goes there over IPv4. So allowing
    127.0.0.0/8 opens ``::ffff:127.0.0.1`` too. 6to4, NAT64 and ISATAP carry packets to an IPv4 address as
    well: unless their own network is allowed, the address inside is judged in its turn. A NAT64 prefix that a
    site chose for itself cannot be told from any other address.
    """

    def __init__(self, allowed: Iterable[str | Network] = ()) -> None:
        """Raises ValueError for what is not a network in CIDR form."""
        self.allowed = tuple(_network(text) for text in allowed)
        self.refusal_at_creation = lru_cache(maxsize=1_024)(self._refusal_at_creation)
        """Asked again at every attempt; see `_refusal_at_creation`."""

    def judge(self, address: str | Address) -> str | None:
        """None where a webhook may go there, else what the address is, to follow "which is".

        Never names the address: whoever may read an attempt need not learn what a name resolves to.
        """
        if isinstance(address, str):
            address = ip_address(address)
        if isinstance(address, IPv6Address):
            if address.scope_id is not None:
                return "an address with a scope id (RFC 4007)"
            if address.ipv4_mapped is not None:
                return self.judge(address.ipv4_mapped)
        if any(address in network for network in self.allowed):
            return None
        return self._judge_v4(address) if isinstance(address, IPv4Address) else self._judge_v6(address)

    def _refusal_at_creation(self, target: Target) -> str | None:
        """Why a URL is refused already, as far as it shows without a look-up; None if it does not.

        What shows is an address, in any spelling that `literal` knows, and ``localhost`` with all names under
        it (RFC 6761). Every other name is judged by its addresses, at connect time: they may change.
        """
        host = target.destination.host.rstrip(".")
        if host == "localhost" or host.endswith(".localhost"):
            verdicts = [self.judge(loopback) for loopback in LOOPBACKS]
            return verdicts[0] if all(verdicts) else None
        address = literal(host)
        return None if address is None else self.judge(address)

    def _judge_v4(self, address: IPv4Address) -> str | None:
        return next((what for network, what in REFUSED_V4 if address in network), None)

    def _judge_v6(self, address: IPv6Address) -> str | None:
        for network, what in REFUSED_V6:
            if address in network:
                return what
        value = int(address)
        for embeds, inside, form in (
            (address in NAT64, value, "NAT64"),
            (address in SIX_TO_FOUR, value >> 80, "6to4"),
            (value >> 32 & _ISATAP_MASK == ISATAP, value, "ISATAP"),
        ):
            what_inside = self.judge(IPv4Address(inside & 0xFFFF_FFFF)) if embeds else None
            if what_inside is not None:
                return f"the {form} form of {what_inside}"
        return None if address in GLOBAL_UNICAST or address in NAT64 else "a reserved address (RFC 4291)"


@lru_cache(maxsize=4_096)
def literal(host: str) -> Address | None:
    """The address that a host spells out; None for a name.

    IPv4 in every spelling that C's ``inet_aton`` takes, because resolvers take them too without asking DNS:
    decimal (``2130706433``), hexadecimal, octal, and with one to four parts (``127.1``).
    """
    if ":" in host:
        return IPv6Address(host)
    if not _NUMERIC.fullmatch(host):
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


_NUMERIC: Final = re.compile(r"[0-9][0-9a-fx]*(?:\.[0-9][0-9a-fx]*){0,3}", re.IGNORECASE)


def _network(text: str | Network) -> Network:
    try:
        network = ip_network(text) if isinstance(text, str) else text
    except ValueError as error:
        raise ValueError(f"{error}; a network is written as 10.1.0.0/16") from None
    if isinstance(network, IPv6Network) and network.subnet_of(MAPPED):
        raise ValueError(f"{network} is a range of IPv4-mapped addresses: allow the IPv4 range inside it")
    return network
