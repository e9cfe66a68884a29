"""Values that have broken somebody's parser before."""

from __future__ import annotations

from typing import Final

DEEP: Final = 100_000
VALUES: Final = (
    *("null", "true", "false", "0", "-0", "-1", "1", "1.5", "1e1", "1E400", "-1E400", "1e-400"),
    *("2147483648", "9223372036854775807", "9223372036854775808", "-9223372036854775809"),
    "1" + 400 * "0",
    "1" + 5_000 * "0",
    *("[]", "{}", "[[]]", "[null]", '[""]', '[{"a": 1}]', '{"": null}', '{"a": 1}', '{"a": {"b": [1]}}'),
    *('""', '" "', '"x"', '"1"', '"true"', '"null"', r'"\u0000"', r'"a\u0000b"', r'"a\nb"', r'"\u007f"'),
    *('"é"', r'"\ud83d\ude00"', '"🎉"', r'"\u202e"', r'"\ufeff"', '"../.."', '"%00"', "\"' OR 1=1 --\""),
    *('"http://"', '"http://[::1"', '"http://a b/"', '"http://127.0.0.1:99999/"', '"file:///etc/passwd"'),
    *('"http://user@127.0.0.1:9/"', '"http://127.0.0.1:9/#f"', '"http://xn--a.example/"', '"http://é/"'),
    *('"2026-02-30T00:00:00Z"', '"0000-00-00T00:00:00Z"'),
    *('"9999-12-31T23:59:59Z"', '"0001-01-01T00:00:00+23:59"'),
    *('"* * * * *"', '"99 99 99 99 99"', '"*/0 * * * *"', '"../etc/passwd"', '"Europe/Nowhere"', '"whsec_"'),
    '"' + 70_000 * "y" + '"',
    "[" + ",".join(2_000 * ["1"]) + "]",
    "{" + ",".join(f'"m{number}": 1' for number in range(2_000)) + "}",
    65 * "[" + 65 * "]",
    65 * '{"a":' + "1" + 65 * "}",
)  # fmt: skip
"""JSON texts, each a value that is well-formed by itself."""
NO_VALUES: Final = (
    *("", "NaN", "Infinity", "-Infinity", "+1", "01", ".5", "1.", "0x10", "1e", "'a'", "undefined", "nul"),
    *(r'"\ud800"', r'"\udc00\ud800"', r'"\x41"', r'"\u12"', '"', '"a', '"a\tb"', '"a\nb"', '"a\0b"', "[1,]"),
    *('{"a":1,}', '{"a":1,"a":2}', r'{"a":1,"\u0061":2}', "{1:2}", "{a:1}", "[1 2]", "// x", "/**/1", "[1]]"),
    DEEP * "[",
    DEEP * '{"a":',
    DEEP * "[" + DEEP * "]",
)  # fmt: skip
"""Texts that are no JSON value (I-JSON, RFC 7493), or nested beyond what anybody follows."""
WORDS: Final = (
    *("", " ", "0", "-1", "1.5", "1e3", "NaN", "true"),
    *("null", "x", "a b", "a\tb", "..", "*", "é", "\xff", "\x80"),
    *("%00", "%0d%0a", "%2e%2e%2f", "%ff", "%", "%zz", "%c3%a9"),
    *("%ed%a0%80", "+", "&", "=", ";", "a;b=c", "{}"),
    *("9223372036854775808", 400 * "9", 300 * "a", 4_000 * "z", '"', "'"),
    *("<script>", "${x}", "task_", "key_x"),
)  # fmt: skip
"""For headers, query parameters and paths: latin-1, without what would end a line."""
