"""Options from ``aq.toml``: below the command line and the environment, above the defaults."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Final

import click

DEFAULT_FILE: Final = "aq.toml"


def read_settings(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """Callback of an eager ``--config``: its file's keys become the defaults of the command's options.

    Keys are the options' names, with ``-`` or ``_``. A missing file is an error only if it was asked for.
    Raises UsageError for what is not TOML and for a key that is no option.
    """
    path = Path(value or DEFAULT_FILE)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if value is None:
            return None
        raise click.UsageError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(f"{path}: {error}") from None
    context.default_map = _checked(path, found, context.command, but=parameter)
    return str(path)


def _checked(
    path: Path, found: dict[str, Any], command: click.Command, but: click.Parameter
) -> dict[str, Any]:
    options = {
        option.name: option
        for option in command.params
        if isinstance(option, click.Option) and option is not but and option.name is not None
    }
    settings: dict[str, Any] = {}
    for key, value in found.items():
        option = options.get(key.replace("-", "_"))
        if option is None or option.name is None:
            known = ", ".join(sorted(options))
            raise click.UsageError(f"{path}: {key!r} is no setting; the known ones are {known}")
        if isinstance(value, dict):
            raise click.UsageError(f"{path}: {key!r} must be a plain value, not a table")
        settings[option.name] = [value] if option.multiple and not isinstance(value, list) else value
    return settings
