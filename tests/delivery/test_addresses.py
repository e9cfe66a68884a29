from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aq.delivery.addresses import Guard, literal
from aq.target import parse_target

INTERNAL = """
    127.0.0.1 127.1 127.0.1 0x7f.1 0x7f000001 017700000001 2130706433 0177.0.0.1 127.255.255.254 127.0.0.1.
    0 0.0.0.0 0x0 0.1.2.3 10.0.0.1 10.1 012.0.0.1 167772161 172.16.0.1 172.31.255.255 192.168.0.1 192.168.1
    0xc0a80001 100.64.0.1 100.127.255.255 100.100.100.200 169.254.1.1 169.254.169.254 2852039166 0xa9fea9fe
    169.254.43518 168.63.129.16 0xa83f8110 192.0.0.1 192.0.0.8 192.0.0.192 192.0.2.1 198.51.100.7 203.0.113.9
    198.18.0.1 198.19.255.255 192.88.99.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    [::] [::1] [0:0:0:0:0:0:0:1] [::ffff:127.0.0.1] [::ffff:7f00:1] [::ffff:10.0.0.1] [::ffff:169.254.169.254]
    [::127.0.0.1] [::7f00:1] [::8.8.8.8] [64:ff9b::127.0.0.1] [64:ff9b::a00:1] [64:ff9b::169.254.169.254]
    [64:ff9b:1::8.8.8.8] [2002:7f00:1::] [2002:a00:1::1] [2002:a9fe:a9fe::] [2001::1] [2001:0:0808:0808::1]
    [fe80::1] [febf::1] [fec0::1] [feff::1] [fc00::1] [fd12:3456::1] [fd00:ec2::254] [ff02::1] [ff0e::1]
    [2001:db8::1] [3fff::1] [100::1] [5f00::1] [2001:2::1] [2001:10::1] [4000::1] [e000::1] [200::1]
    localhost LOCALHOST localhost. a.localhost deep.a.localhost.
"""

PUBLIC = """
    1.1.1.1 8.8.8.8 134744072 0x08080808 9.255.255.255 11.0.0.1 100.63.255.255 100.128.0.1 126.255.255.255
    128.0.0.1 168.63.129.15 168.63.129.17 169.253.255.255 172.15.255.255 172.32.0.1 192.0.1.1 192.167.255.255
    198.17.255.255 198.20.0.1 223.255.255.255 [2606:4700::1111] [2a00:1450::1] [::ffff:8.8.8.8]
    [64:ff9b::8.8.8.8] [2002:808:808::1] [2001:200::1] [2001:4860:4860::8888] [3ffe::1]
    example.com localhost.example.com internal metadata.google.internal 127.0.0.1.nip.io 127.0.0.1.2 09.1.1.1
"""


def seen_at_creation(guard: Guard, host: str) -> str | None:
    return guard.refusal_at_creation(parse_target(f"https://{host}/hook"))


@pytest.mark.parametrize("host", INTERNAL.split())
def test_internal_spellings_are_refused_at_creation(host: str) -> None:
    assert seen_at_creation(Guard(), host)


@pytest.mark.parametrize("host", PUBLIC.split())
def test_public_addresses_and_names_pass_at_creation(host: str) -> None:
    assert seen_at_creation(Guard(), host) is None


@pytest.mark.parametrize(
    ("address", "word"),
    [
        ("127.0.0.1", "loopback"),
        ("10.0.0.1", "private"),
        ("100.64.0.1", "carrier-grade"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("64:ff9b::10.0.0.1", "NAT64 form of a private"),
        ("2002:a00:1::", "6to4 form of a private"),
        ("::ffff:10.0.0.1", "private"),
        ("fe80::1%eth0", "scope"),
        ("2606:4700::1%eth0", "scope"),
    ],
)
def test_the_reason_says_what_it_is_and_not_which(address: str, word: str) -> None:
    reason = Guard().judge(address)
    assert reason is not None
    assert word in reason
    assert address not in reason


@given(st.ip_addresses(v=4))
def test_every_way_to_write_an_ipv4_address_is_judged_alike(address: IPv4Address) -> None:
    guard, value = Guard(), int(address)
    a, b, c, d = address.packed
    spellings = [
        f"{value}",
        f"{value:#x}",
        f"0{value:o}",
        f"{a}.{b}.{c << 8 | d}",
        f"{a:#x}.{b:#o}".replace("0o", "0"),
    ]
    assert [literal(it) for it in spellings[:4]] == [address] * 4
    assert literal(f"{a}.{value & 0xFFFFFF:#x}") == address
    mapped = IPv6Address(0xFFFF << 32 | value)
    assert guard.judge(mapped) == guard.judge(address)


@given(st.ip_addresses())
def test_what_the_standard_library_calls_internal_is_refused(address: IPv4Address | IPv6Address) -> None:
    """Save 6to4: it is judged by the address inside, and the library refuses all of it."""
    if not address.is_global and not (isinstance(address, IPv6Address) and address.sixtofour):
        assert Guard().judge(address)


def test_an_allowed_network_is_open_and_its_neighbours_are_not() -> None:
    guard = Guard(["10.1.0.0/16", "127.0.0.0/8", "fd00:1::/32"])
    for address in ("10.1.2.3", "127.9.9.9", "::ffff:127.0.0.1", "64:ff9b::10.1.0.1", "fd00:1::5"):
        assert guard.judge(address) is None, address
    for address in ("10.2.0.1", "::1", "fd00:2::1", "::127.0.0.1", "169.254.169.254"):
        assert guard.judge(address) is not None, address


def test_localhost_is_open_when_a_loopback_is() -> None:
    assert seen_at_creation(Guard(["127.0.0.0/8"]), "app.localhost") is None
    assert seen_at_creation(Guard(["::1/128"]), "localhost") is None
    assert seen_at_creation(Guard(["10.0.0.0/8"]), "localhost")


@pytest.mark.parametrize("network", ["10.0.0.1/8", "ten", "::ffff:10.0.0.0/104", ""])
def test_a_network_that_is_none_is_refused(network: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Guard([network])


def test_there_are_enough_spellings() -> None:
    assert len(set(INTERNAL.split())) >= 40
    assert ip_address("127.0.0.1") == literal("127.1")
