"""`pilothouse node`: the machines of the cluster, and what a person decides about them."""

import click
from msgspec.structs import replace

from pilothouse.cli import options, output, times
from pilothouse.cli.cluster_client import ClusterClient
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, command
from pilothouse.cli.pairs import pairs
from pilothouse.cli.promotion import follow
from pilothouse.clock import SystemClock
from pilothouse.errors import InvalidRequestError
from pilothouse.model.cluster_api import MaintenanceRequest, NodePatch
from pilothouse.model.counts import count
from pilothouse.model.images import NodeImage, NodeImages, reclaimed_words
from pilothouse.model.node import Availability, Node
from pilothouse.model.placement import Taint, TaintEffect


@click.group()
def node() -> None:
    """Look at the machines that run tasks, and decide what may run on them."""


def _client() -> ClusterClient:
    return ClusterClient(options.transport())


@command("ls", group=node, examples=[("pilothouse node ls", "the machines, their engine and whether they are ready")])
@options.as_json
def ls(*, as_json: bool) -> None:
    """List the nodes."""
    found = options.client().nodes()
    if as_json:
        output.json(found)
        return
    heads = ("NODE", "HOST", "READY", "ROLE", "AVAILABILITY", "VERSION", "ENGINE", "CPUS", "MEMORY", "MESSAGE")
    output.table(heads, map(_row, found))


@command("inspect", group=node, examples=[("pilothouse node inspect web1", "everything known of it, as JSON")])
@options.as_json
@click.argument("node_id", metavar="NODE")
def inspect(*, as_json: bool, node_id: str) -> None:
    """Show one node: what it is, what a person decided, and its certificates."""
    found = _client().node(node_id)
    if as_json:
        output.json(found)
        return
    now = SystemClock().now()
    for name, value in _facts(found, now):
        output.line(f"{name + ':':14} {value}")


@command(
    "label",
    group=node,
    examples=[
        ("pilothouse node label web1 zone=b disk=ssd", "set two labels"),
        ("pilothouse node label web1 disk-", "take one away"),
    ],
)
@options.as_json
@click.argument("node_id", metavar="NODE")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE|KEY-...")
def label(*, as_json: bool, node_id: str, labels: tuple[str, ...]) -> None:
    """Set labels of a node, and take those away that are written with a dash behind them."""
    gone = [each.removesuffix("-") for each in labels if "=" not in each and each.endswith("-")]
    kept = pairs("label", [each for each in labels if "=" in each or not each.endswith("-")])
    _change(node_id, NodePatch(labels={**kept, **dict.fromkeys(gone)}), as_json=as_json)


@command(
    "taint",
    group=node,
    examples=[
        ("pilothouse node taint web1 gpu=yes", "only services that tolerate it are placed there from now on"),
        ("pilothouse node taint web1 retired:evict", "and what is there already is moved away"),
        ("pilothouse node taint web1 gpu-", "take it away"),
    ],
)
@options.as_json
@click.argument("node_id", metavar="NODE")
@click.argument("taints", nargs=-1, required=True, metavar="KEY[=VALUE][:EFFECT]|KEY-...")
def taint(*, as_json: bool, node_id: str, taints: tuple[str, ...]) -> None:
    """Keep tasks away from a node unless they tolerate it; the effect is no-schedule (the default) or evict."""
    gone = tuple(each.removesuffix("-") for each in taints if each.endswith("-"))
    kept = tuple(_taint(each) for each in taints if not each.endswith("-"))
    _change(node_id, NodePatch(taints=kept, untaint=gone), as_json=as_json)


@command(
    "drain",
    group=node,
    examples=[
        ("pilothouse node drain web1", "its tasks are replaced elsewhere, and it gets no new ones"),
        ('pilothouse node drain web1 --for 2h --reason "new disk"', "and it takes work again by itself after that"),
        ("pilothouse node drain web1 --deadline 30m", "what could not be moved by then is stopped"),
    ],
)
@click.option("--for", "duration", metavar="DURATION", help="Then it takes work again by itself.")
@click.option("--deadline", metavar="DURATION", help="Then what could not be moved is stopped. Default: never.")
@click.option("--reason", default="", metavar="WHY", help="Shown with the node.")
@options.as_json
@click.argument("node_id", metavar="NODE")
def drain(*, duration: str | None, deadline: str | None, reason: str, as_json: bool, node_id: str) -> None:
    """Have a node's tasks replaced elsewhere, one of a service at a time, and give it no new ones."""
    asked = MaintenanceRequest(
        reason=reason,
        for_seconds=times.parse_duration(duration) if duration else None,
        deadline_seconds=times.parse_duration(deadline) if deadline else None,
    )
    plain = asked == MaintenanceRequest()
    patch = NodePatch(availability=Availability.DRAIN) if plain else NodePatch(maintenance=asked)
    _change(node_id, patch, as_json=as_json)


@command("pause", group=node, examples=[("pilothouse node pause web1", "it keeps its tasks and gets no new ones")])
@options.as_json
@click.argument("node_id", metavar="NODE")
def pause(*, as_json: bool, node_id: str) -> None:
    """Give a node no new tasks; those it has stay."""
    _change(node_id, NodePatch(availability=Availability.PAUSE), as_json=as_json)


@command("activate", group=node, examples=[("pilothouse node activate web1", "it takes work again")])
@options.as_json
@click.argument("node_id", metavar="NODE")
def activate(*, as_json: bool, node_id: str) -> None:
    """Have a node take work again that was drained, paused or in maintenance, or is held back because it was lost."""
    _change(node_id, NodePatch(availability=Availability.ACTIVE), as_json=as_json)


@command(
    "remove",
    group=node,
    examples=[
        ("pilothouse node remove web1", "its certificates stop counting; it can come back only with a new token"),
        ("pilothouse node remove web1 --force", "the machine is gone for good, whatever was on it"),
    ],
)
@click.option("--force", is_flag=True, help="Although it has tasks.")
@options.as_json
@click.argument("node_id", metavar="NODE")
def remove(*, force: bool, as_json: bool, node_id: str) -> None:
    """Remove a node from the cluster; drain it first.

    None of its certificates counts from then on. Its machine, once it hears of it, stops and removes what the platform
    runs there, but for named volumes. What was there is made anew elsewhere 20 seconds later.
    """
    found = _client().remove_node(node_id, force=force)
    if as_json:
        output.json(found)
    else:
        output.line(
            f"removed {found.id}; its machine stops and removes what ran there once it hears of it, volumes stay; "
            "then, on that machine: pilothouse leave"
        )


@command("rotate", group=node, examples=[("pilothouse node rotate web1", "it makes a new key within seconds")])
@options.as_json
@click.argument("node_id", metavar="NODE")
def rotate(*, as_json: bool, node_id: str) -> None:
    """Have a node make itself a new key; its certificates from before end ten minutes after it has the new one."""
    found = _client().rotate_node(node_id)
    if as_json:
        output.json(found)
    else:
        output.line(f"{found.id} is asked for a new key with its next beat, or when it comes back")


@command(
    "approve",
    group=node,
    examples=[
        ("pilothouse node approve m2", "it becomes a manager by itself; each step is shown"),
        ("pilothouse node approve m2 --no-wait", "return at once"),
    ],
    exits={EXIT_DONE: "it is a manager, or will be", EXIT_FAILED: "it is approved, and no manager after two minutes"},
)
@click.option("--wait/--no-wait", default=True, help="Wait until it is a manager, and say how far it is.")
@options.as_json
@click.argument("node_id", metavar="NODE")
def approve(*, wait: bool, as_json: bool, node_id: str) -> int:
    """Let a node that joined with a manager's token be a manager.

    It then gets a manager's certificate, the key of the secrets and a member of the store by itself; what runs there
    runs on. Interrupting this command changes nothing about that.
    """
    found = _client().approve_node(node_id)
    if as_json:
        output.json(found)
        return EXIT_DONE
    output.line(f"{found.id} is approved as a manager")
    if wait and not follow(options.client(), found.id, output.line, SystemClock()):
        return EXIT_FAILED
    return EXIT_DONE


@command("demote", group=node, examples=[("pilothouse node demote m2", "it goes on as an agent; its tasks run on")])
@options.as_json
@click.argument("node_id", metavar="NODE")
def demote(*, as_json: bool, node_id: str) -> None:
    """Make a manager an agent, or let a node that waits for approval wait no more.

    Its member of the store is taken out first; that is refused if the members that are left could not go on. What runs
    on it runs on. The only manager stays one.
    """
    found = _client().demote_node(node_id)
    if as_json:
        output.json(found)
    else:
        output.line(f"{found.id} is an agent: its member of the store is out, and its server becomes an agent")


@command(
    "images",
    group=node,
    examples=[
        ("pilothouse node images web1", "what is there, and why it stays"),
        ("pilothouse node images web1 --plan", "only what would be removed, in that order"),
    ],
)
@click.option("--plan", is_flag=True, help="Only those that would be removed, in that order.")
@options.as_json
@click.argument("node_id", metavar="NODE")
def images(*, plan: bool, as_json: bool, node_id: str) -> None:
    """List the images on a node: which may be removed when its disk gets full, and why the others stay."""
    found = _client().node_images(node_id)
    shown = [image for image in found.images if not (plan and image.kept)]
    if as_json:
        output.json(replace(found, images=tuple(shown)))
        return
    now = SystemClock().now()
    output.table(("IMAGE", "SIZE", "LAST USED", "STAYS BECAUSE"), [_image_row(image, now) for image in shown])
    output.line(_disk(found))


@command("prune", group=node, examples=[("pilothouse node prune web1", "make room now")])
@options.as_json
@click.argument("node_id", metavar="NODE")
def prune(*, as_json: bool, node_id: str) -> None:
    """Remove the images on a node that nobody needs, now; `node images --plan` says which."""
    done = _client().prune_node(node_id)
    if as_json:
        output.json(done)
    else:
        output.line(reclaimed_words(done))


def _image_row(image: NodeImage, now: float) -> tuple[str, ...]:
    used = times.ago(image.used_at, now) if image.used_at else "-"
    name = next(iter(image.names), image.id.removeprefix("sha256:")[:12])
    return name, f"{image.size_bytes / 2**20:.1f} MiB", used, image.kept or "- (may be removed)"


def _disk(found: NodeImages) -> str:
    may_go = [image for image in found.images if not image.kept]
    size = sum(image.size_bytes for image in may_go) / 2**20
    said = f"{count(len(may_go), 'image')} may be removed, {size:.1f} MiB at most (shared layers count for each)"
    if not found.total_bytes:
        return said
    used = 100 * (1 - found.free_bytes / found.total_bytes)
    return (
        f"{said}; the disk ({found.path}) is {used:.0f} % full: removing begins at {found.begins_percent:g} % and ends "
        f"below {found.ends_percent:g} %"
    )


def _change(node_id: str, patch: NodePatch, *, as_json: bool) -> None:
    found = _client().change_node(node_id, patch)
    if as_json:
        output.json(found)
    else:
        output.line(f"{found.id}: {_decided(found)}")


def _taint(text: str) -> Taint:
    """Return KEY[=VALUE][:EFFECT].

    Raises:
        InvalidRequestError: The effect is none.
    """
    rest, colon, effect = text.rpartition(":")
    if not colon:
        rest, effect = text, TaintEffect.NO_SCHEDULE.value
    if effect not in {each.value for each in TaintEffect}:
        raise InvalidRequestError(
            f"{text[:80]!r}: the effect of a taint is no-schedule or evict; write KEY[=VALUE][:EFFECT]"
        )
    key, _, value = rest.partition("=")
    return Taint(key=key, value=value, effect=TaintEffect(effect))


def _decided(found: Node) -> str:
    labels = [f"{key}={value}" for key, value in sorted(found.spec.labels.items())]
    taints = [_shown(each) for each in found.spec.taints]
    parts = [
        found.spec.availability.value,
        f"labels {', '.join(labels) or 'none'}",
        f"taints {', '.join(taints) or 'none'}",
    ]
    kept = found.spec.maintenance
    if kept is not None:
        until = "it is activated" if kept.until is None else times.stamp(kept.until)
        parts.append(f"in maintenance until {until}{f' ({kept.reason})' if kept.reason else ''}")
    return "; ".join(parts)


def _shown(taint: Taint) -> str:
    return f"{taint.key}{f'={taint.value}' if taint.value else ''}:{taint.effect.value}"


def _facts(found: Node, now: float) -> list[tuple[str, str]]:
    capacity = found.description.capacity
    facts = [
        ("node", found.id),
        ("role", found.role),
        ("host", found.description.hostname),
        ("address", found.description.address or "-"),
        ("state", f"{found.state.value}, {'ready' if found.ready else 'not ready'}: {found.message or '-'}"),
        ("decided", _decided(found)),
        ("version", found.description.version or "-"),
        ("engine", found.description.engine or "-"),
        ("platform", f"{found.description.os}/{found.description.arch}, kernel {found.description.kernel}"),
        ("capacity", f"{capacity.cpu_nano / 1e9:g} cores, {capacity.memory_bytes / 2**30:.1f} GiB"),
        ("joined", times.ago(found.joined_at, now) if found.joined_at else "-"),
    ]
    if (done := found.description.reclaimed) is not None:
        facts.append(("made room", f"{times.ago(done.at, now)}: {reclaimed_words(done)}"))
    facts += [("warning", text) for text in found.description.warnings]
    for each in found.certificates:
        ends = "ended" if each.not_after <= now else f"until {times.stamp(each.not_after)}"
        facts.append(("certificate", f"{each.serial} of authority {each.authority}, {ends}"))
    return facts


def _row(found: Node) -> tuple[str, ...]:
    capacity = found.description.capacity
    return (
        found.id,
        found.description.hostname,
        "yes" if found.ready else "no",
        found.role,
        found.spec.availability.value,
        found.description.version or "-",
        found.description.engine,
        f"{capacity.cpu_nano / 1e9:g}",
        f"{capacity.memory_bytes / 2**30:.1f} GiB",
        found.message,
    )
