"""`pilothouse completion`: what a shell needs to complete our commands."""

import click
from click.shell_completion import get_completion_class

from pilothouse.cli.command import command


@command(
    "completion",
    examples=[
        ('eval "$(pilothouse completion bash)"', "in ~/.bashrc"),
        ("pilothouse completion fish > ~/.config/fish/completions/pilothouse.fish", "for fish, once"),
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(*, shell: str) -> None:
    """Write a completion script for SHELL to standard output."""
    found = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if found is None:
        raise click.UsageError(f"there is no completion for {shell}")
    click.echo(found(root, {}, "pilothouse", "_PILOTHOUSE_COMPLETE").source())
