"""The group of all commands: in sections, each imported when it is asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn, TypeAlias

import click

from aq.cli import ends

Section: TypeAlias = tuple[str, Mapping[str, str]]
"""A title, and commands by name with the module of `aq.cli` that holds each under its name."""


class Commands(click.Group):
    """A group whose commands are found by name and shown in sections; errors end it as `aq.cli.ends` says."""

    def __init__(self, *args: Any, sections: Sequence[Section], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections = sections
        self._modules = {name: module for _, commands in sections for name, module in commands.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        command: click.Command = getattr(import_module(f"aq.cli.{self._modules[cmd_name]}"), cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Before a command stand few options; whoever tries one of a command's there is told its place."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            place = f"aq COMMAND {error.option_name} …"
            raise click.UsageError(f"an option stands behind its command: {place}", ctx) from None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._modules and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(name, self._modules)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"there is no command {name}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self._modules))
        for title, names in self._sections:
            found = [(name.ljust(width), self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                room = formatter.width - width - 4
                formatter.write_dl(
                    [(name, command.get_short_help_str(room)) for name, command in found if command]
                )

    def invoke(self, ctx: click.Context) -> Any:
        """A reader of stdout that has gone (``| head``) is no error; Click would make it one."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            ends.say_no_more()
            return ends.Code.DONE
        return result

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]  # Click's may also return, when it is asked to
        """Run the command that the arguments name, and end the process with its exit code."""
        words = list(sys.argv[1:] if args is None else args)
        settings = {**extra, "prog_name": "aq", "standalone_mode": False}

        def command() -> object:
            return super(Commands, self).main(words, **settings)

        sys.exit(ends.run(command, as_json="--json" in words))
