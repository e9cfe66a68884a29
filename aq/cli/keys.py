"""``aq keys``: who may ask for what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from aq.cli.output import confirm, print_json, print_results, print_table, say, yes_option
from aq.cli.service import remote
from aq.cli.values import given, local

if TYPE_CHECKING:
    from aq.client import Client


@click.group()
def keys() -> None:
    """Make and revoke API keys.

    \b
    Who has access:
      aq keys list
    """


@keys.command("list")
@remote
def list_(client: Client, as_json: bool) -> None:
    """List keys, revoked ones too; their texts are not kept.

    \b
    As JSON:
      aq keys list --json
    """
    found = client.keys.list()
    if as_json:
        print_results(found)
        return
    rows = [
        (
            it.id,
            it.name,
            it.environment,
            " ".join(it.scopes),
            "all" if it.queues is None else " ".join(it.queues),
            local(it.created_at),
            "revoked" if it.revoked_at else "",
        )
        for it in found
    ]
    titles = ["id", "name", "environment", "scopes", "queues", "created", "state"]
    print_table(
        titles, rows, empty="there are no stored keys (one that the server was started with is not listed)"
    )


@keys.command("create")
@click.argument("name")
@click.option("--environment", type=click.Choice(["live", "test"]), help="test: a sandbox.  [default: live]")
@click.option(
    "--scope", "scopes", multiple=True, type=click.Choice(["read", "write", "admin"]), help="Repeatable."
)
@click.option("--queue", "queues", multiple=True, help="For these only; repeatable.  [default: all]")
@click.option("--rate-limit", "rate_limit_per_minute", type=click.IntRange(1), help="Requests per minute.")
@remote
def create(client: Client, as_json: bool, *, name: str, **options: Any) -> None:
    """Make a key, and print it this once.

    \b
    For a program that makes tasks in one queue:
      export AQ_API_KEY=$(aq keys create shop --scope write --queue orders)
    """
    key = client.keys.create(name=name, **given(options))
    if as_json:
        print_results(key)
    else:
        say(f"{key.id} ({key.name}): this is the only time its text is shown.")
        click.echo(key.key)


@keys.command("revoke")
@click.argument("id")
@yes_option
@remote
def revoke(client: Client, as_json: bool, *, id: str, yes: bool) -> None:  # noqa: A002 - as the API has it
    """Revoke a key: it is refused at once.

    \b
    Without being asked:
      aq keys revoke key_01JDE3G5P00007CMS8H5KDRDQG --yes
    """
    found = client.keys.get(id)
    confirm(f"Revoke {found.id} ({found.name}, {found.environment})?", yes)
    client.keys.revoke(id)
    if as_json:
        print_json({"revoked": id})
    else:
        click.echo(f"revoked {id}")
