"""``aq completion``: what a shell needs to complete commands and options."""

from __future__ import annotations

import click


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what lets a shell complete with the tab key.

    \b
    For bash 4.4 or newer, in ~/.bashrc:
      eval "$(aq completion bash)"
    For zsh, in ~/.zshrc:
      eval "$(aq completion zsh)"
    For fish:
      aq completion fish > ~/.config/fish/completions/aq.fish
    """
    from click.shell_completion import ShellComplete, get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known to this version of click")
    made = kind(context.find_root().command, {}, "aq", "_AQ_COMPLETE")
    click.echo(ShellComplete.source(made))  # bash's own would run bash, to ask for its version
