"""Why nodes, networks, volumes, files and grants are as they are."""

from pilothouse.control.nodes.drain import drain_sentence
from pilothouse.control.orchestrators.reaper import used_networks, used_volumes
from pilothouse.model.api import Explanation
from pilothouse.model.counts import count
from pilothouse.model.names import display_name
from pilothouse.model.node import Availability, Node
from pilothouse.model.objects import Config, Grant, Network, Secret, Task, Volume
from pilothouse.server.explain.lost import node_next, silent_for
from pilothouse.server.explain.words import ago, sentence, since, some
from pilothouse.store.interface import ReadTx

_MIB = 1024 * 1024


def explain_node(tx: ReadTx, node: Node, now: float) -> Explanation:
    """Return why *node* is as it is."""
    name = node.description.hostname or node.id
    tasks = [task for task in tx.find(Task, node_id=node.id) if not task.state.terminal]
    state = f"{'ready' if node.ready else 'not ready'} {since(node.since, now)}".rstrip()
    limits = (
        "" if node.spec.availability is Availability.ACTIVE else f"a person set it to {node.spec.availability.value}"
    )
    change = "it takes new tasks" if node.ready and not limits else "it takes no new tasks until that changes"
    reserved = sum(task.spec.reservations.memory_bytes for task in tasks) // _MIB
    cores = sum(task.spec.reservations.cpu_nano for task in tasks) / 1e9
    capacity = node.description.capacity
    return Explanation(
        object=f"node/{node.id}",
        sentence=sentence(
            f"{name} is {state}: {node.message or 'no agent has connected yet'}", limits,
            f"{count(len(tasks), 'task')} on it", drain_sentence(tx, node), node_next(tx, node, tasks, now) or change,
        ),
        causes=tuple(node.description.warnings),
        facts=(
            ("engine", node.description.engine or "unknown"),
            ("platform", f"{node.description.os}/{node.description.arch}"),
            ("cores", f"{cores:g} of {capacity.cpu_nano / 1e9:g} reserved"),
            ("memory", f"{reserved} of {capacity.memory_bytes // _MIB} MiB reserved"),
            ("silent for", silent_for(node, now) or "no"),
            ("lost", _losses(node, now)),
            ("labels", ", ".join(f"{key}={value}" for key, value in sorted(node.spec.labels.items())) or "none"),
        ),
    )  # fmt: skip


def _losses(node: Node, now: float) -> str:
    return f"{count(len(node.losses), 'time')}, last {ago(node.losses[-1], now)}" if node.losses else "never"


def explain_network(tx: ReadTx, network: Network) -> Explanation:
    """Return why *network* is as it is."""
    users = [t for t in _live(tx, network.app) if network.spec.key in used_networks([t])]
    return _resource(network, users, external=network.spec.external, engine_name=network.spec.name)


def explain_volume(tx: ReadTx, volume: Volume) -> Explanation:
    """Return why *volume* is as it is."""
    users = [t for t in _live(tx, volume.app) if volume.spec.key in used_volumes([t])]
    return _resource(volume, users, external=volume.spec.external, engine_name=volume.spec.name)


def explain_file(tx: ReadTx, file: Secret | Config) -> Explanation:
    """Return why a secret or config is as it is; never what is in it."""
    kind = type(file).__name__.lower()
    live = _live(tx, file.app)
    of = [(t, t.secret_versions if isinstance(file, Secret) else t.config_versions) for t in live]
    users = [(t, versions[file.spec.key]) for t, versions in of if file.spec.key in versions]
    old = [display_name(t) for t, version in users if version != file.content_version]
    newest = f"{some(old)} still have older content and are replaced by the update" if old else ""
    return Explanation(
        object=f"{kind}/{file.id}",
        sentence=sentence(
            f"The {kind} {file.spec.key} of {file.app} is given to {some([display_name(t) for t, _ in users])}",
            newest,
            "it is being removed"
            if file.removing
            else "a deployment with other content replaces the tasks that use it",
        ),
        facts=(("version", file.content_version or "none"), ("external", "yes" if file.spec.external else "no")),
    )


def explain_grant(grant: Grant, now: float) -> Explanation:
    """Return what *grant* allows, to whom, why and until when."""
    what = f"{grant.kind} {grant.value}".strip()
    whom = f"{grant.app}/{grant.service}" if grant.service else f"every service of {grant.app}"
    if grant.revoked_at is not None:
        state, change = f"was taken back {ago(grant.revoked_at, now)}", "grant it again to allow it"
    elif grant.until is not None and grant.until <= now:
        state, change = f"ended {ago(grant.until, now)}", "grant it again to allow it"
    else:
        ends = f"until {ago_in(grant.until, now)}" if grant.until is not None else "without an end"
        state, change = f"is in force {ends}", f"`pilothouse grant revoke {grant.id}` takes it back"
    return Explanation(
        object=f"grant/{grant.id}",
        sentence=sentence(
            f"The grant of {what} to {whom} {state}",
            f"{grant.granted_by or 'somebody unknown'} gave it {ago(grant.granted_at, now)} because: {grant.reason}",
            change,
        ),
        facts=(("kind", grant.kind), ("value", grant.value or "all"), ("for", whom)),
    )


def ago_in(at: float, now: float) -> str:
    """Return "in 3 h" for a time that is yet to come."""
    return f"in {since(now, at).removeprefix('for ')}"


def _resource(obj: Network | Volume, users: list[Task], *, external: bool, engine_name: str) -> Explanation:
    kind = type(obj).__name__.lower()
    names = [display_name(task) for task in users]
    name = f"The {kind} {obj.spec.key} of {obj.app}"
    if obj.removing and users:
        said = (f"{name} is to be removed, but {some(names)} use it", "it goes when they have stopped")
    elif obj.removing:
        said = (f"{name} is to be removed and nothing uses it", "the node deletes it as soon as its agent is connected")
    else:
        owner = "it is external, so the platform never removes it" if external else "the platform made it"
        change = "only a person removes it, with its content" if kind == "volume" else "it goes with the app"
        said = (f"{name} is used by {some(names)}", owner if external else f"{owner}; {change}")
    return Explanation(
        object=f"{kind}/{obj.id}",
        sentence=sentence(*said),
        facts=(
            ("name in the engine", engine_name),
            ("driver", obj.spec.driver or "the engine's default"),
            ("external", "yes" if external else "no"),
        ),
    )


def _live(tx: ReadTx, app: str) -> list[Task]:
    return [task for task in tx.find(Task, app=app) if not task.state.terminal]
