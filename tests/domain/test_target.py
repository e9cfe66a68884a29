from __future__ import annotations

import pytest

from aq.target import Destination, Target, parse_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h", Target(Destination("http", "h", 80), "/")),
        ("HTTPS://Example.COM/A%20b", Target(Destination("https", "example.com", 443), "/A%20b")),
        ("http://h:9?q=%20", Target(Destination("http", "h", 9), "/?q=%20")),
        ("http://h/a?x=1&y=%2F&z=a+b&z=2", Target(Destination("http", "h", 80), "/a?x=1&y=%2F&z=a+b&z=2")),
        ("https://[::1]:8443/", Target(Destination("https", "::1", 8443), "/")),
        ("http://127.0.0.1:65535/x;y='(a)'~", Target(Destination("http", "127.0.0.1", 65535), "/x;y='(a)'~")),
        ("http://a_b.example./", Target(Destination("http", "a_b.example.", 80), "/")),
    ],
)
def test_taken_apart_and_nothing_normalised(url: str, target: Target) -> None:
    assert parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "x",
        "/x",
        "//h/x",
        "ftp://h/",
        "javascript:alert(1)",
        "http://",
        "http:///x",
        "http://?x",
        "http://h:0/",
        "http://h:65536/",
        "http://h:99999/",
        "http://h:/",
        "http://u:p@h/",
        "http://u@h/",
        "http://h/#f",
        "http://h#",
        "http://h/a b",
        "http://h/\t",
        "http://h/\r\nX: y",
        "http://h/x\n",
        "\nhttp://h/",
        "http://h/é",
        "http://é/",
        "http://127。0。0。1/",
        "http://%31/",
        "http://h\\@evil/",
        "http://[::1/",
        "http://[::g]/",
        "http://[fe80::1%eth0]/",
        "http://[v1.x]/",
        "http://-h/",
        "http://h/" + "a" * 2_048,
    ],
)
def test_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must "):
        parse_target(url)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://h", "h"),
        ("http://h:80", "h"),
        ("https://h:443", "h"),
        ("http://h:443", "h:443"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_host_header(url: str, authority: str) -> None:
    assert parse_target(url).destination.authority == authority
