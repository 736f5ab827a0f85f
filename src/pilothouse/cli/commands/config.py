"""`pilothouse config`: print the project that Compose files make, without a server."""

from collections.abc import Mapping

import click

from pilothouse.cli import options, output, project
from pilothouse.cli.command import EXIT_REFUSED, command
from pilothouse.compose import render


@command(
    "config",
    examples=[
        ("pilothouse config", "the project in this directory, with everything merged and written out, as YAML"),
        ("pilothouse config -f compose.yaml -f production.yaml --format json", "two files merged, as JSON"),
        ("pilothouse config --quiet", "only say whether the files can be used"),
    ],
    exits={EXIT_REFUSED: "the files cannot be used; every finding names file, line, column and path"},
)
@options.manifest
@click.option(
    "--format", "form", type=click.Choice(["yaml", "json"]), default="yaml", show_default=True, help="What to write."
)
@click.option("--services", "services", is_flag=True, help="Write only the names of the services, one on each line.")
@click.option("--volumes", "volumes", is_flag=True, help="Write only the names of the volumes, one on each line.")
@click.option("-q", "--quiet", is_flag=True, help="Write nothing; the exit code says whether the files can be used.")
def config(
    *,
    chosen: options.Chosen,
    form: str,
    services: bool,
    volumes: bool,
    quiet: bool,
) -> None:
    """Print the project that Compose files make, in the form and order of `docker compose config`.

    Files are merged, variables replaced, short forms written out and paths made absolute; nothing is deployed and no
    server is asked. Values of variables are shown, those of secrets are not.
    """
    loaded = project.read(chosen)
    for warning in loaded.warnings:
        output.note(f"warning: {warning}")
    if quiet:
        return
    if services or volumes:
        names = (
            dependencies_first(loaded.project["services"]) if services else sorted(loaded.project.get("volumes", {}))
        )
        for name in names:
            output.line(name)
        return
    text = render.as_json(loaded.project) if form == "json" else render.as_yaml(loaded.project)
    click.echo(text, nl=False)


def dependencies_first(services: Mapping[str, Mapping[str, object]]) -> list[str]:
    """Return the names of services, each after those it depends on."""
    ordered: dict[str, None] = {}
    waiting = sorted(services, reverse=True)
    while waiting:
        name = waiting[-1]
        wanted = services[name].get("depends_on")
        missing = [other for other in (wanted if isinstance(wanted, dict) else {}) if other in services]
        missing = sorted((other for other in missing if other not in ordered), reverse=True)
        if missing and name not in ordered:
            waiting.extend(missing)
        else:
            ordered.setdefault(waiting.pop())
    return list(ordered)
