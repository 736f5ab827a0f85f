"""`pilothouse up`: make a Compose file what runs, and wait until it does."""

import os
from collections.abc import Mapping

import click

from pilothouse.cli import follow, lifecycle, options, output, project
from pilothouse.cli.client import Client
from pilothouse.cli.command import EXIT_FAILED, EXIT_REFUSED, command
from pilothouse.cli.commands.top import size
from pilothouse.cli.places import places
from pilothouse.cli.progress import Progress
from pilothouse.clock import SystemClock
from pilothouse.compose.convert import Converted
from pilothouse.errors import ImageMissingError, PolicyDeniedError, ServerUnavailableError
from pilothouse.ids import SystemIds
from pilothouse.model.api import DeployRequest, DeployResult, ImageRequest
from pilothouse.model.spec import AppSpec
from pilothouse.model.wire import ImageProgress


@command(
    "up",
    examples=[
        ("pilothouse up", "deploy the Compose file in this directory and wait until it runs"),
        ("pilothouse up -f compose.yaml -f production.yaml -p shop", "two files merged, under a name"),
        ("pilothouse up --detach --json", "for programs: return once the deployment is recorded"),
    ],
    exits={
        0: "every service is as the manifest says",
        EXIT_FAILED: "a service failed (three times in a row), or is not there in time; the platform goes on trying",
        EXIT_REFUSED: "the manifest cannot be used, or needs a grant; nothing was changed",
    },
)
@options.manifest
@click.option("--keep-orphans", is_flag=True, help="Leave services alone that are no longer in the file.")
@click.option("-d", "--detach", is_flag=True, help="Do not wait until it runs.")
@follow.timeout_option
@options.as_json
def up(
    *,
    chosen: options.Chosen,
    keep_orphans: bool,
    detach: bool,
    timeout: str,
    as_json: bool,
) -> int:
    """Deploy an app from its Compose file, and wait until it is as the file says.

    Run it again after a change: only services whose definition changed get new tasks, those that left the file go, the
    others are not touched. Images are made present before anything that runs is stopped. If no server runs it is
    started. Interrupting the wait leaves the deployment going.
    """
    seconds = follow.timeout_seconds(timeout)
    made = project.app(chosen)
    progress = Progress(quiet=as_json)
    for warning in made.warnings:
        progress.say(f"warning: {warning}")
    root = click.get_current_context().find_root()
    lifecycle.ensure(places(os.environ, socket=root.params.get("socket")), progress.say)
    client = options.client()
    result = deploy(client, request_of(made, keep_orphans=keep_orphans), progress, made.builds)
    if detach:
        return _say_deployed(result, as_json=as_json)
    try:
        return follow.until_converged(client, result.app, result.revision, seconds, as_json=as_json, progress=progress)
    except KeyboardInterrupt:
        output.note(
            f"interrupted; the deployment of {result.app} goes on: `pilothouse ps {result.app}` shows how far it is"
        )
        raise


def request_of(made: Converted, *, keep_orphans: bool = False) -> DeployRequest:
    """Return the request that deploys *made*."""
    return DeployRequest(spec=made.spec, secrets=made.secrets, configs=made.configs, keep_orphans=keep_orphans)


def deploy(
    client: Client, request: DeployRequest, progress: Progress, builds: Mapping[str, str] | None = None
) -> DeployResult:
    """Check, make images present, deploy; say what will change. *builds* says how missing images are built.

    Raises:
        PolicyDeniedError, InvalidManifestError: Nothing was changed.
        ImageMissingError: An image is neither there nor can it be had; nothing was changed.
    """
    trial = DeployRequest(
        spec=request.spec,
        secrets=request.secrets,
        configs=request.configs,
        keep_orphans=request.keep_orphans,
        dry_run=True,
    )
    try:
        client.deploy(trial)
    except PolicyDeniedError:
        # A trial leaves no audit record; a refusal must.
        client.deploy(request)
    ensure_images(client, request.spec, progress, builds or {})
    result = client.deploy(request, key=SystemIds().new())
    for warning in result.warnings:
        progress.say(f"warning: {warning}")
    progress.say(changes(result))
    return result


def changes(result: DeployResult) -> str:
    """Return what a deployment changes as one sentence."""
    parts = [
        f"{word} {', '.join(names)}"
        for word, names in (
            ("new:", result.created),
            ("replaced:", result.changed),
            ("going:", result.removed),
            ("untouched:", result.unchanged),
        )
        if names
    ]
    return f"{result.app} revision {result.revision}: {'; '.join(parts) or 'no services'}"


def image_requests(spec: AppSpec) -> list[ImageRequest]:
    """Return every image the app needs, each once."""
    found: dict[tuple[str, str, str], ImageRequest] = {}
    for service in spec.services:
        container = service.task.container
        hooks = [hook.image for hook in service.task.pre_start if hook.image]
        for ref in (container.image, *hooks):
            key = (ref, container.pull_policy, container.platform)
            found[key] = ImageRequest(ref=ref, policy=container.pull_policy, platform=container.platform)
    return list(found.values())


def ensure_images(client: Client, spec: AppSpec, progress: Progress, builds: Mapping[str, str]) -> None:
    """Make every image of *spec* present, with progress.

    Raises:
        ImageMissingError: One cannot be had.
    """
    clock = SystemClock()
    for request in image_requests(spec):
        begun, pulled, phase = clock.monotonic(), False, ""
        for step in client.ensure_image(request):
            phase = step.phase
            pulled = pulled or phase == "pulling"
            if phase == "failed":
                progress.clear_line()
                said = step.message or f"the image {request.ref} is not available"
                how = builds.get(request.ref)
                raise ImageMissingError(f"{said}\nbuild it: {how}" if how else said)
            progress.over(image_line(step))
        progress.clear_line()
        if phase != "resolved":
            raise ServerUnavailableError(f"the server stopped before the image {request.ref} was there; try again")
        if pulled:
            progress.say(f"pulled {request.ref} in {clock.monotonic() - begun:.1f} s")


def image_line(step: ImageProgress) -> str:
    """Return one step of making an image present as one line."""
    amount = f" {size(step.done_bytes)} of {size(step.total_bytes)}" if step.total_bytes else ""
    return f"image {step.ref}: {step.phase}{amount}{f' ({step.message})' if step.message else ''}"


def _say_deployed(result: DeployResult, *, as_json: bool) -> int:
    if as_json:
        output.json(result)
    else:
        output.line(f"{result.app} is being deployed: `pilothouse ps {result.app}` shows how far it is")
    return 0
