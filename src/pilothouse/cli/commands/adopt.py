"""`pilothouse adopt`: take over what `docker compose` runs."""

import os

import click

from pilothouse.cli import follow, lifecycle, options, output, project
from pilothouse.cli.command import EXIT_REFUSED, command
from pilothouse.cli.commands.up import changes, ensure_images, request_of
from pilothouse.cli.places import places
from pilothouse.cli.progress import Progress
from pilothouse.model.api import AdoptRequest


@command(
    "adopt",
    examples=[("pilothouse adopt -f compose.yaml", "make the containers of this project a managed app")],
    exits={EXIT_REFUSED: "the manifest cannot be used, or needs a grant; nothing was changed"},
)
@options.manifest
@click.option("-d", "--detach", is_flag=True, help="Do not wait until every service is as the file says.")
@follow.timeout_option
@options.as_json
def adopt(
    *,
    chosen: options.Chosen,
    detach: bool,
    timeout: str,
    as_json: bool,
) -> int:
    """Make the containers `docker compose` runs for a project a managed app.

    Give the same files, name and profiles as to `docker compose up`. Containers that match the file are taken over as
    they run, without a restart; the others are replaced, each with its reason.
    """
    seconds = follow.timeout_seconds(timeout)
    made = project.app(chosen)
    progress = Progress(quiet=as_json)
    for warning in made.warnings:
        progress.say(f"warning: {warning}")
    root = click.get_current_context().find_root()
    lifecycle.ensure(places(os.environ, socket=root.params.get("socket")), progress.say)
    client = options.client()
    ensure_images(client, made.spec, progress, made.builds)
    result = client.adopt(AdoptRequest(deploy=request_of(made)))
    progress.say(changes(result.deployed))
    for each in result.adopted:
        progress.say(f"taken over: {each}")
    for each in result.replaced:
        progress.say(f"replaced: {each}")
    if detach:
        if as_json:
            output.json(result)
        return 0
    return follow.until_stable(
        client, result.deployed.app, result.deployed.revision, seconds, as_json=as_json, progress=progress
    )
