"""The command line: options, their sources, and what is refused before anything starts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from aq.cli import main
from aq.cli.serve import serve
from aq.version import __version__


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*args: str, **env: str) -> Result:
    return CliRunner().invoke(main, args, env=env)


def options(*args: str) -> dict[str, object]:
    return dict(click.Command.make_context(serve, "serve", list(args)).params)


def test_version() -> None:
    assert run("--version").output == f"aq {__version__}\n"


def test_defaults() -> None:
    assert options() == {
        "host": "127.0.0.1",
        "port": 8080,
        "storage": "sqlite:///aq.db",
        "dev": False,
        "allow": (),
        "grace": 8,
        "max_attempts": 1_000,
        "lane": True,
        "metrics_port": None,
        "metrics_host": "127.0.0.1",
        "log_format": "auto",
        "log_level": "info",
        "otel": False,
        "tls_cert": None,
        "tls_key": None,
        "workers": 1,
    }


def test_every_option_is_a_variable_too(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "HOST": "::1",
        "PORT": "1",
        "STORAGE": "memory:",
        "DEV": "1",
        "GRACE": "0.5",
        "MAX_ATTEMPTS": "7",
        "LANE": "0",
        "METRICS_PORT": "2",
        "METRICS_HOST": "::1",
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "debug",
        "OTEL": "1",
        "TLS_CERT": "c.pem",
        "TLS_KEY": "k.pem",
        "WORKERS": "3",
    }
    for name, value in {**values, "ALLOW": "10.0.0.0/8 127.0.0.0/8"}.items():
        monkeypatch.setenv(f"AQ_{name}", value)
    assert options() == {
        "host": "::1",
        "port": 1,
        "storage": "memory:",
        "dev": True,
        "allow": ("10.0.0.0/8", "127.0.0.0/8"),
        "grace": 0.5,
        "max_attempts": 7,
        "lane": False,
        "metrics_port": 2,
        "metrics_host": "::1",
        "log_format": "json",
        "log_level": "debug",
        "otel": True,
        "tls_cert": "c.pem",
        "tls_key": "k.pem",
        "workers": 3,
    }


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "aq.toml").write_text('port = 1\ngrace = 1\nmax-attempts = 1\nallow = "10.0.0.0/8"\n')
    monkeypatch.setenv("AQ_PORT", "2")
    monkeypatch.setenv("AQ_GRACE", "2")
    found = options("--port", "3")
    assert (found["port"], found["grace"], found["max_attempts"]) == (3, 2, 1)
    assert found["allow"] == ("10.0.0.0/8",)


def test_a_file_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("port = 5")
    assert options("--config", "other.toml")["port"] == 5
    monkeypatch.setenv("AQ_CONFIG", "other.toml")
    assert options()["port"] == 5


USAGE = {
    "dev beyond loopback": (["--dev", "--host", "0.0.0.0"], {}, "loopback"),
    "dev on a name": (["--dev", "--host", "example.com"], {}, "loopback"),
    "no network": (["--allow", "10.0.0.1/8"], {}, "written as 10.1.0.0/16"),
    "short key": ([], {"AQ_API_KEY": "aq_live_short"}, "AQ_API_KEY: must be"),
    "key without prefix": ([], {"AQ_API_KEY": "s3cret" * 10}, "AQ_API_KEY"),
    "no secret": ([], {"AQ_SIGNING_SECRET": "s3cret"}, "`aq secret` makes one"),
    "unknown storage": (["--storage", "mysql://x"], {}, "storage"),
    "port out of range": (["--port", "65536"], {}, "--port"),
    "metrics port out of range": (["--metrics-port", "-1"], {}, "--metrics-port"),
    "no log format": (["--log-format", "xml"], {}, "--log-format"),
    "no log level": ([], {"AQ_LOG_LEVEL": "loud"}, "--log-level"),
    "no number": (["--grace", "nan"], {}, "--grace"),
    "no number in the environment": ([], {"AQ_GRACE": "nan"}, "--grace"),
    "unknown option": (["--prot", "1"], {}, "--prot"),
    "missing file": (["--config", "none.toml"], {}, "none.toml"),
}


@pytest.mark.parametrize(("args", "env", "named"), USAGE.values(), ids=USAGE.keys())
def test_wrong_usage_exits_2_and_says_what_is_wrong(args: list[str], env: dict[str, str], named: str) -> None:
    result = run("serve", *args, **env)
    assert result.exit_code == 2
    assert named in result.output
    assert "s3cret" not in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("text", ["prot = 1", "[port]\nx = 1", "port = ", "config = 'x'", "port = 'x'"])
def test_a_file_that_is_wrong_exits_2(tmp_path: Path, text: str) -> None:
    (tmp_path / "aq.toml").write_text(text)
    result = run("serve")
    assert result.exit_code == 2
    assert "port" in result.output or "aq.toml" in result.output
