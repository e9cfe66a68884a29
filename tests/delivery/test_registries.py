"""The guard against IANA's registries of special-purpose addresses, and the forms that hide an IPv4 address.

Both registries as of 2025: iana-ipv4-special-registry and iana-ipv6-special-registry. Those that carry
packets to an IPv4 address are judged by it: ``::ffff:0:0/96``, ``64:ff9b::/96`` and ``2002::/16``.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aq.delivery.addresses import REFUSED_V4, REFUSED_V6, Guard, Range, literal

IPV4 = """
    0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
    192.0.0.0/29 192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24
    192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.88.99.2/32 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15
    198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255/32
"""
IPV6 = """
    ::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128
    2001:1::3/128 2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32
    2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10
"""
METADATA = """
    169.254.169.254 169.254.170.2 169.254.170.23 fd00:ec2::254 fd00:ec2::23 fd20:ce::254 168.63.129.16
    100.100.100.200 192.0.0.192 169.254.0.23
"""
"""Of AWS (also for its containers), Google Cloud, Azure, Alibaba Cloud, Oracle Cloud, Tencent Cloud."""


@pytest.mark.parametrize("network", (IPV4 + IPV6).split())
def test_every_block_of_both_registries_is_refused_from_end_to_end(network: str) -> None:
    block = ip_network(network)
    for address in (block[0], block[block.num_addresses // 2], block[-1]):
        assert Guard().judge(address), address


@pytest.mark.parametrize("address", METADATA.split())
@pytest.mark.parametrize("allowed", [[], ["10.0.0.0/8"], ["fd00:1::/32", "127.0.0.0/8", "::1/128"]])
def test_metadata_addresses_are_refused_whatever_else_is_allowed(address: str, allowed: list[str]) -> None:
    assert Guard(allowed).judge(address)


@pytest.mark.parametrize("refused", REFUSED_V4 + REFUSED_V6, ids=lambda it: str(it.network))
def test_every_range_names_its_source(refused: Range) -> None:
    assert re.search(r"\((RFC \d+|vendor: \w+)", refused.what)
    assert Guard().judge(refused.network[0])


def forms(address: IPv4Address, prefix: int) -> dict[str, IPv6Address]:
    """An IPv4 address in every form of IPv6 that embeds one; ``prefix`` is 64 bits of a public network."""
    inside = int(address)
    return {
        "mapped (RFC 4291)": IPv6Address(0xFFFF << 32 | inside),
        "compatible (RFC 4291)": IPv6Address(inside),
        "translated (RFC 2765)": IPv6Address(0xFFFF << 48 | inside),
        "NAT64 (RFC 6052)": IPv6Address((0x0064_FF9B << 96) | inside),
        "local NAT64 (RFC 8215)": IPv6Address((0x0064_FF9B_0001 << 80) | inside),
        "6to4 (RFC 3056)": IPv6Address((0x2002 << 112) | inside << 80 | 1),
        "Teredo server (RFC 4380)": IPv6Address((0x2001_0000 << 96) | inside << 64 | 1),
        "Teredo client (RFC 4380)": IPv6Address((0x2001_0000 << 96) | inside ^ 0xFFFF_FFFF),
        "ISATAP (RFC 5214)": IPv6Address(prefix << 64 | 0x0000_5EFE << 32 | inside),
        "ISATAP, unique (RFC 5214)": IPv6Address(prefix << 64 | 0x0200_5EFE << 32 | inside),
        "ISATAP within 6to4": IPv6Address((0x2002_0808_0808_0000 << 64) | 0x0000_5EFE << 32 | inside),
    }


def within(network: IPv4Network | IPv6Network) -> st.SearchStrategy[int]:
    edges = st.sampled_from([int(network[0]), int(network[-1])])
    return edges | st.integers(int(network[0]), int(network[-1]))


refused_v4 = st.sampled_from(REFUSED_V4).flatmap(lambda it: within(it.network)).map(IPv4Address)
refused_v6 = st.sampled_from(REFUSED_V6).flatmap(lambda it: within(it.network)).map(IPv6Address)
public_prefixes = st.sampled_from([0x2606_4700_0000_0000, 0x2A00_1450_4001_0801])


@given(refused_v4, public_prefixes)
def test_an_address_of_a_refused_range_is_refused_in_every_embedded_form(
    address: IPv4Address, prefix: int
) -> None:
    guard = Guard()
    assert guard.judge(address)
    assert {form: guard.judge(it) for form, it in forms(address, prefix).items() if not guard.judge(it)} == {}


@given(refused_v6)
def test_every_address_of_a_refused_ipv6_range_is_refused(address: IPv6Address) -> None:
    assert Guard().judge(address)


@given(st.ip_addresses(v=4), public_prefixes)
def test_forms_that_carry_packets_to_a_public_address_are_open(address: IPv4Address, prefix: int) -> None:
    """The guard is not a wall: what leads to a public address goes there."""
    guard, found = Guard(), forms(address, prefix)
    for form in ("mapped (RFC 4291)", "NAT64 (RFC 6052)", "6to4 (RFC 3056)", "ISATAP (RFC 5214)"):
        assert bool(guard.judge(found[form])) is bool(guard.judge(address)), form


networks = st.integers(8, 32).flatmap(
    lambda bits: st.ip_addresses(v=4).map(lambda it: IPv4Network((it, bits), strict=False))
)


@given(networks, refused_v4)
def test_an_allowed_network_opens_its_own_addresses_and_no_other(
    network: IPv4Network, address: IPv4Address
) -> None:
    guard = Guard([network])
    assert (guard.judge(address) is None) is (address in network)
    for edge in (int(network[0]) - 1, int(network[-1]) + 1):
        if 0 <= edge < 1 << 32:
            assert guard.judge(IPv4Address(edge)) == Guard().judge(IPv4Address(edge))


numeric = st.text("0123456789abcdefxXABCDEF.", min_size=1, max_size=18) | st.from_regex(
    r"(0[xX][0-9a-f]{1,8}|0[0-7]{1,11}|[0-9]{1,10})(\.(0x[0-9a-f]{1,6}|[0-9]{1,8})){0,3}\.?", fullmatch=True
)


@given(numeric)
def test_what_the_system_takes_for_an_address_is_read_as_that_address(host: str) -> None:
    """The resolver connects to spellings that are no name at all; none of them slips past as one."""
    try:
        flags = socket.AI_NUMERICHOST
        found = socket.getaddrinfo(host.encode(), 80, type=socket.SOCK_STREAM, flags=flags)[0][4][0]
    except OSError:
        return
    assert str(literal(host)) == found
