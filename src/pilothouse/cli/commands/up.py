"""`pilothouse up`: make a Compose file what runs, and wait until it does."""

import os
from collections.abc import Mapping

import click
from msgspec.structs import replace

from pilothouse.cli import follow, foretold, lifecycle, options, output, plan_file, project
from pilothouse.cli.client import Client
from pilothouse.cli.command import EXIT_DONE, EXIT_REFUSED, command
from pilothouse.cli.commands.top import size
from pilothouse.cli.places import places
from pilothouse.cli.progress import Progress
from pilothouse.clock import SystemClock
from pilothouse.compose.convert import Converted
from pilothouse.errors import ImageMissingError, PlanStaleError, ServerUnavailableError
from pilothouse.ids import SystemIds
from pilothouse.model.api import DeployRequest, DeployResult, ImageRequest
from pilothouse.model.release_api import PlanView
from pilothouse.model.spec import AppSpec
from pilothouse.model.wire import ImageProgress


@command(
    "up",
    examples=[
        ("pilothouse up", "deploy the Compose file in this directory and wait until it runs"),
        ("pilothouse up -f compose.yaml -f production.yaml -p shop", "two files merged, under a name"),
        ("pilothouse up --plan change.plan", "only if it does what `pilothouse plan --out change.plan` said"),
        ("pilothouse up --detach --json", "for programs: return once the deployment is recorded"),
    ],
    exits={
        **follow.EXITS,
        EXIT_DONE: "every service is as the manifest says",
        EXIT_REFUSED: "the manifest cannot be used, an image is missing, or a grant is needed; nothing was changed",
    },
)
@options.manifest
@click.option("--keep-orphans", is_flag=True, help="Leave services alone that are no longer in the file.")
@click.option(
    "--plan",
    "plan_path",
    metavar="FILE",
    default="",
    help="Deploy only if it does what the plan in FILE says; see `pilothouse plan --out`.",
)
@click.option("-m", "--message", default="", metavar="TEXT", help="What this release is for; kept with it.")
@click.option("-d", "--detach", is_flag=True, help="Do not wait until it runs.")
@follow.timeout_option
@options.as_json
def up(
    *,
    chosen: options.Chosen,
    keep_orphans: bool,
    plan_path: str,
    message: str,
    detach: bool,
    timeout: str,
    as_json: bool,
) -> int:
    """Deploy an app from its Compose file, and wait until it is as the file says.

    Run it again after a change: only services whose definition changed get new tasks, those that left the file go, the
    others are not touched. What it would do is planned first and said in short; if the app is changed by somebody else
    in between so that it would do something else, nothing is done. Images are made present before anything that runs is
    stopped. If no server runs it is started.

    What is deployed is a release. A new task that fails has it rolled back to the newest release that was stable; then
    this ends with 1 once that one runs again, and says which task failed and why. Interrupting the wait leaves the
    release going; `pilothouse watch` waits for it again.
    """
    seconds = follow.timeout_seconds(timeout)
    planned = plan_file.read(plan_path) if plan_path else None
    made = project.app(chosen)
    progress = Progress(quiet=as_json)
    for warning in made.warnings:
        progress.say(f"warning: {warning}")
    root = click.get_current_context().find_root()
    lifecycle.ensure(places(os.environ, socket=root.params.get("socket")), progress.say)
    client = options.client()
    request = request_of(made, keep_orphans=keep_orphans, message=message)
    result = deploy(client, request, progress, made.builds, planned)
    if detach:
        return _say_deployed(result, as_json=as_json)
    return follow.until_stable(client, result.app, result.revision, seconds, as_json=as_json, progress=progress)


def request_of(made: Converted, *, keep_orphans: bool = False, message: str = "") -> DeployRequest:
    """Return the request that deploys *made*."""
    return DeployRequest(
        spec=made.spec, secrets=made.secrets, configs=made.configs, keep_orphans=keep_orphans, message=message
    )


def deploy(
    client: Client,
    request: DeployRequest,
    progress: Progress,
    builds: Mapping[str, str] | None = None,
    planned: PlanView | None = None,
) -> DeployResult:
    """Plan, say so in short, make images present, deploy what was planned.

    Args:
        client: The server.
        request: What to deploy.
        progress: Where to say how it gets on.
        builds: How missing images are built, by reference.
        planned: Deploy only what this plan says; None makes the plan here.

    Raises:
        PolicyDeniedError, InvalidManifestError: Nothing was changed.
        PlanStaleError: It would do something else than was planned; nothing was changed.
        ImageMissingError: An image is neither there nor can it be had; nothing was changed.
    """
    plan = client.plan(request)
    if planned is not None:
        plan_file.check_fresh(planned, plan)
    if foretold.refused(plan):
        if plan.services and not plan.refusals:
            # All that can be missing is an image, and here is known how it is built.
            ensure_images(client, request.spec, progress, builds or {})
        # A plan leaves no audit record; a refusal must.
        return client.deploy(_at(request, plan))
    for sentence in filter(None, (foretold.in_short(plan), plan.supersedes)):
        progress.say(sentence)
    ensure_images(client, request.spec, progress, builds or {})
    try:
        result = client.deploy(_at(request, plan), key=SystemIds().new())
    except PlanStaleError as stale:
        if planned is not None:
            raise
        again = client.plan(request)
        plan_file.check_same(plan, again, str(stale))
        result = client.deploy(_at(request, again), key=SystemIds().new())
    for warning in result.warnings:
        progress.say(f"warning: {warning}")
    return result


def _at(request: DeployRequest, plan: PlanView) -> DeployRequest:
    """Return *request*, to be carried out only if the app is still as it was when *plan* was made."""
    return replace(request, expect=plan.base)


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
        output.line(f"{result.app} is being deployed: `pilothouse watch {result.app}` shows how it gets on")
    return 0
