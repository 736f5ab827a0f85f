"""The entry point of the `pilothouse` command."""

import click

from pilothouse import __version__


@click.group()
@click.version_option(__version__, prog_name="pilothouse")
def main() -> None:
    """Run Compose apps on container hosts, keep them running, and say why they are as they are."""
