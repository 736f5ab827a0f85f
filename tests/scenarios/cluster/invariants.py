"""What must hold after every step of a simulated cluster, whatever fails; each broken promise is a `BrokenError`."""

import asyncio
from collections import Counter

from pilothouse.control.nodes.timers import STORM_NODES, STORM_SECONDS, STORM_SHARE
from pilothouse.control.orchestrators.rollout import parallelism
from pilothouse.control.orchestrators.scene import key_of
from pilothouse.model.cluster import Cluster, Disruption
from pilothouse.model.names import container_name, task_id_of
from pilothouse.model.node import Node, NodeState
from pilothouse.model.objects import App, Service, Task
from pilothouse.model.release import Release, ReleaseState, release_id
from pilothouse.model.spec import Mode
from pilothouse.model.states import TaskState, Writer

ANY_MANAGER = {Writer.API}
"""Who may write on a manager that does not lead."""


class BrokenError(AssertionError):
    """A promise was not kept."""


class Promises:
    """Watches every commit and every start of a container.

    Attributes:
        steps: How many commits were checked.
        starts: How many containers were started.
    """

    def __init__(self, hosts):
        self._hosts = hosts
        self._known = set()
        self._fenced = {}
        self._meant = {}
        self._staged = {}
        self._storm = Storm()
        self.steps = 0
        self.starts = 0
        self.broken = []

    def committed(self, tx, changes):
        """Check what a commit changed against everything that must hold in the store."""
        self.steps += 1
        touched, nodes = set(), set()
        for change in changes:
            if isinstance(change.object, Task):
                self._task(change.before, change.after)
                touched.add(change.object.service_id)
                nodes.add(change.object.node_id)
            elif isinstance(change.object, Service) and change.after is not None:
                self._fenced[change.after.id] = cut_off(change.after)
            elif isinstance(change.object, Cluster | Node):
                self._note(self._storm.seen(change, len(tx.find(Node))))
        for service_id in touched:
            self._surge(tx, service_id)
            self._stage(tx, service_id)
        for node_id in nodes - {""}:
            self._capacity(tx, node_id)
            self._ports(tx, node_id)

    def led(self, commit, quorum):
        """Check that what only a leader may write was written in the newest term."""
        if commit.writer not in ANY_MANAGER and quorum.shown != quorum.epoch:
            self._break(f"{commit.writer.name} wrote in term {quorum.shown}, and the newest is {quorum.epoch}")

    def started(self, host, container):
        """Check a container that was just started."""
        self.starts += 1
        plan = container.plan
        task_id = task_id_of(plan.name)
        if task_id is None:
            return
        self._note(ports_in_use(host, container))
        same = plan.name.rsplit(".", 1)[0]
        service_id = "/".join(same.split(".")[1:3])
        if not self._fenced.get(service_id):
            return
        others = [
            f"{name} on {other.node_id}"
            for other in self._hosts.values()
            for name in other.engine.running()
            if name.rsplit(".", 1)[0] == same and name != plan.name
        ]
        if others:
            self._break(f"{plan.name} was started on {host.node_id} while {', '.join(others)} lives")

    def assigned(self, node_id, assignment):
        """Check what a node was given: its own tasks, and no secret but theirs."""
        granted = {
            (f"{task.app}/{grant.source}", task.secret_versions.get(grant.source))
            for task in assignment.tasks
            for grant in task.spec.container.secrets
        }
        for content in assignment.secrets:
            if (content.id, content.version) not in granted:
                self._break(f"{node_id} was given the secret {content.id}, which no task of its own needs")
        for task in assignment.tasks:
            if task.node_id != node_id:
                self._break(f"{node_id} was given {task.id}, which is of {task.node_id}")

    def clocks_were_wrong(self):
        """Note that what managers have written down of times need not hold any more."""
        self._storm.trusted = False

    def _task(self, before, after):
        if before is None and after is not None:
            if after.id in self._known:
                self._break(f"the id {after.id} was given twice")
            self._known.add(after.id)
        if before is not None and after is not None:
            if after.state < before.state:
                self._break(f"{after.id} went back from {before.state.name} to {after.state.name}")
            if before.node_id and after.node_id != before.node_id:
                self._break(f"{after.id} was moved from {before.node_id} to {after.node_id}")
            if before.desired_state is TaskState.SHUTDOWN and after.desired_state is not TaskState.SHUTDOWN:
                self._break(f"{after.id} was told to stop and then not to")

    def _surge(self, tx, service_id):
        service = tx.get(Service, service_id)
        if service is None or service.removing or service.spec.mode is not Mode.REPLICATED:
            return
        meant = [
            task
            for task in tx.find(Task, service_id=service_id)
            if task.step < 0 and not task.state.terminal and task.desired_state is TaskState.RUNNING
            and 1 <= task.slot <= service.spec.replicas
        ]  # fmt: skip
        # A move goes on beside what a rollout that was stopped has left as it was.
        moves = any(request.service == service.name for request in tx.find(Disruption, app=service.app))
        stage = _stage_of(tx, service)
        # A canary has so many new tasks beside the old ones as its step says, and rolls on from there.
        beside = max(parallelism(service.spec, service.spec.replicas), stage.tasks if stage else 0)
        most = service.spec.replicas + beside + moves
        # A new spec may allow less than what runs already; then it may only become less.
        before, self._meant[service_id] = self._meant.get(service_id, 0), len(meant)
        if len(meant) > max(most, before):
            self._break(f"{service_id} has {len(meant)} tasks that are to run; {most} are allowed")
        each = Counter(key_of(task) for task in meant)
        # Old and new where a release was stopped between them, and one of them on its way to another node.
        if max(each.values(), default=0) > 3:
            self._break(f"a slot of {service_id} has {max(each.values())} tasks that are to run")

    def _stage(self, tx, service_id):
        """A canary that was not promoted has no more new tasks beside the old ones than it may have."""
        service = tx.get(Service, service_id)
        release = _release_of(tx, service)
        stage = _stage_of(tx, service)
        live = [
            task for task in tx.find(Task, service_id=service_id)
            if task.step < 0 and not task.state.terminal and task.desired_state is TaskState.RUNNING
        ]  # fmt: skip
        new = {task.slot for task in live if service and task.spec == service.spec.task}
        old = {task.slot for task in live if service and task.spec != service.spec.task}
        number = (release.id, len(new & old)) if release else ("", 0)
        before, self._staged[service_id] = self._staged.get(service_id, ("", 0)), number
        if stage is None or stage.promoted or before[0] != number[0] or release.state is not ReleaseState.ROLLING:
            return
        if number[1] > max(stage.tasks, before[1]):
            self._break(f"{service_id} has {number[1]} new tasks beside old ones; its canary allows {stage.tasks}")

    def _ports(self, tx, node_id):
        held = Counter(
            (binding.host_port, binding.protocol)
            for task in tx.find(Task, node_id=node_id)
            if TaskState.ASSIGNED <= task.state <= TaskState.RUNNING and task.desired_state is TaskState.RUNNING
            for binding in task.ports
            if not binding.ingress
        )
        for (port, protocol), number in held.items():
            if number > 1:
                self._break(f"{number} tasks that are to run on {node_id} hold port {port}/{protocol}")

    def _capacity(self, tx, node_id):
        node = tx.get(Node, node_id)
        # One that joins again has not said yet what it has, and what ran there before is still assigned to it.
        if node is None or not node.description.capacity.memory_bytes:
            return
        placed = [
            task for task in tx.find(Task, node_id=node_id) if TaskState.ASSIGNED <= task.state <= TaskState.RUNNING
        ]
        slots = {}
        for task in placed:
            key = (task.service_id, task.slot, task.step)
            slots.setdefault(key, []).append(task)
        memory = 0
        for tasks in slots.values():
            waits = [task for task in tasks if task.desired_state is TaskState.READY]
            # One that waits until another of its slot has stopped takes over what that one has.
            counted = [task for task in tasks if task not in waits] if len(tasks) > len(waits) else tasks[:1]
            memory += sum(task.spec.reservations.memory_bytes for task in counted)
        if memory > node.description.capacity.memory_bytes:
            self._break(
                f"{node_id} has {memory >> 20} MiB placed on it, of {node.description.capacity.memory_bytes >> 20}"
            )

    def check(self):
        """Raise what was broken. Where it is noticed it is only noted: who caused it would heal what follows."""
        if self.broken:
            raise BrokenError("; ".join(self.broken[:5]))

    def _note(self, sentence):
        if sentence:
            self._break(sentence)

    def _break(self, sentence):
        self.broken.append(sentence)


def _release_of(tx, service):
    app = tx.get(App, service.app) if service else None
    return tx.get(Release, release_id(app.id, app.revision)) if app else None


def _stage_of(tx, service):
    release = _release_of(tx, service)
    return release.stages.get(service.name) if release else None


class Storm:
    """Watches the mass-failure brake: nodes that fall at once are not given up before a person said so.

    Attributes:
        trusted: Every manager's wall clock was always right, so that a new leader knows what an older one saw.
    """

    def __init__(self):
        self.trusted = True
        self._fallen = {}
        self._confirmed_at = -STORM_SECONDS

    def seen(self, change, total):
        """Return what is wrong with a change of the cluster or of a node, "" if nothing."""
        now = asyncio.get_running_loop().time()
        before, after = change.before, change.after
        if before is None or after is None:
            # One that is removed is forgotten, and so are its losses.
            self._fallen.pop(change.object.id, None)
            return ""
        if isinstance(after, Cluster):
            if after.evictions_confirmed_at != before.evictions_confirmed_at:
                self._confirmed_at = now
            return ""
        if before.state is after.state or after.state is not NodeState.DOWN:
            return ""
        self._fallen[after.id] = now
        fallen = [node_id for node_id, at in self._fallen.items() if now - at < STORM_SECONDS]
        answered = now - self._confirmed_at < STORM_SECONDS
        if self.trusted and not answered and len(fallen) >= STORM_NODES and len(fallen) * STORM_SHARE > total:
            return f"{', '.join(sorted(fallen))} of {total} nodes were given up within {STORM_SECONDS:g} s"
        return ""


def ports_in_use(host, container):
    """Return which port of a container that starts another one on its host has, "" if none."""
    wanted = {(port.host_port, port.protocol) for port in container.plan.ports}
    for name in host.engine.running():
        other = host.engine.containers[name]
        if other is not container and wanted & {(port.host_port, port.protocol) for port in other.plan.ports}:
            return f"{container.plan.name} was started on {host.node_id} with a port that {name} has"
    return ""


def cut_off(service):
    """Whether two live copies of a slot of *service* must never exist."""
    from pilothouse.control.orchestrators.rollout import in_the_way
    from pilothouse.model.spec import CutOffAction

    written = service.spec.cut_off
    if written is not None:
        return written.action is CutOffAction.FENCE
    return service.spec.mode is Mode.REPLICATED and bool(in_the_way(service.spec.task.container))


def kept_secrets(host, names):
    """Return the files with contents of secrets on a machine that are of no container of *names*, as sentences."""
    ids = {task_id_of(name) for name in names}
    run = host.directory / "run"
    found = [path for path in sorted(run.rglob("*")) if path.is_file() and path.read_bytes().startswith(b"content of")]
    return [f"{path} is a secret of no task there" for path in found if not ids & set(path.parts)]


def leftovers(tx, hosts):
    """Return everything on the machines that belongs to nobody, as sentences."""
    found = []
    assigned = {}
    for task in tx.find(Task):
        if task.node_id and task.state >= TaskState.ASSIGNED:
            assigned.setdefault(task.node_id, set()).add(container_name(task))
    live = {container_name(task) for task in tx.find(Task) if not task.state.terminal}
    for host in hosts.values():
        names = {name for name in host.engine.containers if task_id_of(name)}
        strangers, ghosts = names - assigned.get(host.node_id, set()), set(host.engine.running()) - live
        found += [f"container {name} on {host.node_id} is of no task there" for name in sorted(strangers)]
        found += kept_secrets(host, assigned.get(host.node_id, set()))
        found += [f"container {name} on {host.node_id} runs, and its task is dead" for name in sorted(ghosts)]
    return found
