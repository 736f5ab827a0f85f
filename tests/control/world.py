"""A world without time: objects in dictionaries under the store's law, and an agent that does what a test tells it."""

from msgspec.structs import replace

from pilothouse.control.orchestrators.passes import affected, look, settle
from pilothouse.control.orchestrators.reaper import leftovers
from pilothouse.control.resources.loop import provide
from pilothouse.control.scheduler.loop import place
from pilothouse.ids import SeededIds
from pilothouse.model.container import ContainerSpec
from pilothouse.model.node import Node, NodeDescription
from pilothouse.model.objects import App, Ending, Health, ResolvedImage, Service, Task
from pilothouse.model.ownership import check_write
from pilothouse.model.release import Release, ReleaseKind, release_id
from pilothouse.model.rollout import Stage
from pilothouse.model.spec import AppSpec, Condition, Dependency, Resources, ServiceSpec, TaskSpec
from pilothouse.model.states import TaskState, Writer

LIVE = (TaskState.NEW, TaskState.RUNNING)


def spec(name="web", image="web:1", replicas=1, container=None, **fields):
    container = ContainerSpec(image=image) if container is None else container
    task = fields.pop("task", TaskSpec(container=container))
    return ServiceSpec(name=name, task=task, replicas=replicas, **fields)


def needs(name, condition=Condition.STARTED, **fields):
    return Dependency(service=name, condition=condition, **fields)


def node(id="node1", **fields):
    about = NodeDescription(
        hostname=id, os="linux", arch="x86_64", capacity=Resources(cpu_nano=4_000_000_000, memory_bytes=8 << 30)
    )
    return Node(id=id, description=fields.pop("description", about), ready=fields.pop("ready", True), **fields)


class World:
    """Keeps `store.interface.WriteTx` for whoever is *writer* at the moment."""

    def __init__(self, *services, app="shop", seed=0, nodes=None):
        self.objects = {}
        self.revision = 0
        self.writer = Writer.API
        self.ids = SeededIds(seed)
        self.now = 1000.0
        self.wake = {}
        for each in (node(),) if nodes is None else nodes:
            self.force(each)
        if services:
            self.deploy(*services, app=app)

    # the store's part

    def get(self, kind, id):
        return self.objects.get(kind, {}).get(id)

    def find(self, kind, **fields):
        found = [o for o in self.objects.get(kind, {}).values() if all(getattr(o, k) == v for k, v in fields.items())]
        return sorted(found, key=lambda obj: obj.id)

    def put(self, obj):
        before = self.get(type(obj), obj.id)
        assert (before.version if before else 0) == obj.version
        check_write(self.writer, before, obj)
        return self.force(obj) if before != obj else obj

    def force(self, obj):
        self.revision += 1
        obj = replace(obj, version=self.revision)
        self.objects.setdefault(type(obj), {})[obj.id] = obj
        return obj

    def delete(self, obj):
        check_write(self.writer, obj, None)
        self.revision += 1
        del self.objects[type(obj)][obj.id]

    # a person's part

    def release(self, *services, app="shop", base=1, **fields):
        """Deploy with a record of it; *base* is the stable release before."""
        back = fields.get("kind") is ReleaseKind.ROLLBACK
        self.deploy(*services, app=app, rolling_back=back)
        made = self.get(App, app)
        images = {service.name: service.image for service in self.find(Service, app=app)}
        restarts = {service.name: service.restarts_requested for service in self.find(Service, app=app)}
        return self.put(
            Release(
                id=release_id(app, made.revision), app=app, number=made.revision, spec=made.spec, images=images,
                restarts=restarts, base=base if made.revision > 1 else 0, created_at=self.now, **fields,
            )
        )  # fmt: skip

    def stage(self, service="web", **fields):
        """The releaser lets the newest release go so far with *service*."""
        self.writer = Writer.RELEASER
        app = self.get(App, "shop")
        release = self.get(Release, release_id("shop", app.revision))
        self.put(replace(release, stages={**release.stages, service: Stage(since=self.now, **fields)}))

    def pause(self, app="shop"):
        self.writer = Writer.API
        self.put(replace(self.get(App, app), paused=True, paused_by="alice"))

    def resume(self, app="shop"):
        self.writer = Writer.API
        self.put(replace(self.get(App, app), paused=False, paused_by="", resumed_at=self.now))

    def deploy(self, *services, app="shop", rolling_back=False):
        self.writer = Writer.API
        stored = self.get(App, app)
        whole = AppSpec(name=app, services=services)
        if stored is None:
            self.put(App(id=app, spec=whole, deployed_by="alice", deployed_at=self.now))
        else:
            self.put(replace(stored, spec=whole, revision=stored.revision + 1, removing=False))
        for each in services:
            old = self.get(Service, f"{app}/{each.name}")
            image = ResolvedImage(ref=each.task.container.image, id=f"sha256:{each.task.container.image}")
            if old is None:
                self.put(Service(id=f"{app}/{each.name}", app=app, name=each.name, spec=each, image=image))
            else:
                self.put(replace(old, spec=each, image=image, removing=False, rolling_back=rolling_back))
        for old in self.find(Service, app=app):
            if old.name not in {each.name for each in services}:
                self.put(replace(old, removing=True))

    def down(self, app="shop"):
        self.writer = Writer.API
        self.put(replace(self.get(App, app), removing=True))

    # the platform's part

    def orchestrate(self):
        """One pass over every service; return whether it changed anything."""
        before = self.revision
        self.writer = Writer.ORCHESTRATOR
        every = [service.id for service in self.find(Service)]
        found = settle(self, every, self.now, self.ids)
        self.wake = {key: each.wake_at for key, each in found.items() if each.wake_at is not None}
        return self.revision != before

    def settled(self):
        """Whether another look would change nothing."""
        every = [service.id for service in self.find(Service)]
        return not any(found.changes for found in look(self, every, self.now).values())

    def prepare(self):
        """What happens between the orchestrator and the node."""
        self.writer = Writer.RESOURCES
        provide(self, [task.id for task in self.find(Task, state=TaskState.NEW)])
        self.writer = Writer.SCHEDULER
        place(self, [task.id for task in self.find(Task, state=TaskState.PENDING)])

    def reap(self):
        self.writer = Writer.REAPER
        for app in {service.app for service in self.find(Service)} | {app.id for app in self.find(App)}:
            for obj in leftovers(self, app, self.now):
                self.delete(obj)

    def affected(self, *dirty):
        return affected(self, dirty, (), global_too=False)

    # the node's part

    def report(self, task, state, **status):
        """The agent saw *task* in *state*."""
        self.writer = Writer.AGENT
        task = self.get(Task, task.id)
        status = {"since": self.now, **status}
        if status.get("ready") and not task.status.ready:
            status["ready_since"] = self.now
        return self.put(replace(task, state=state, status=replace(task.status, **status)))

    def run(self, task, ready=True, health=Health.NONE):
        return self.report(task, TaskState.RUNNING, started_at=self.now, ready=ready, health=health)

    def fail(self, task, code=1, **ending):
        end = Ending(exit_code=code, **ending)
        started = self.get(Task, task.id).status.started_at or self.now
        return self.report(task, TaskState.FAILED, ready=False, ending=end, started_at=started, finished_at=self.now)

    def complete(self, task):
        started = self.get(Task, task.id).status.started_at or self.now
        return self.report(
            task, TaskState.COMPLETE, ready=False, ending=Ending(exit_code=0), started_at=started, finished_at=self.now
        )

    def obey(self, ready=True):
        """The node does at once whatever is wanted of every task on it; return whether anything moved."""
        moved = False
        for task in self.find(Task):
            if task.state < TaskState.ASSIGNED or task.state.terminal:
                continue
            if task.desired_state is TaskState.SHUTDOWN:
                self.report(task, TaskState.SHUTDOWN, ready=False, finished_at=self.now)
            elif task.desired_state is TaskState.READY and task.state < TaskState.READY:
                self.report(task, TaskState.READY)
            elif task.desired_state is TaskState.RUNNING and task.state < TaskState.RUNNING:
                self.run(task, ready=ready)
            else:
                continue
            moved = True
        return moved

    def turn(self):
        """Everybody acts once; return whether anything changed."""
        before = self.revision
        self.orchestrate()
        self.prepare()
        self.obey()
        return self.revision != before

    def rest(self, turns=200):
        """Let everybody act until nothing changes any more, without time passing."""
        for _ in range(turns):
            if not self.turn():
                return self
        raise AssertionError("the world does not come to rest")

    def pass_time(self, seconds, turns=500):
        """Let time pass, stopping whenever somebody wants to look again."""
        end = self.now + seconds
        for _ in range(turns):
            self.rest()
            due = [at for at in self.wake.values() if self.now < at <= end]
            if not due:
                self.now = end
                self.rest()
                return self
            self.now = min(due)
        raise AssertionError("the world does not come to rest")

    # what tests ask

    def tasks(self, service="web"):
        return sorted(self.find(Task, service=service), key=lambda t: (t.slot, t.node_id, t.created_at, t.version))

    def live(self, service="web"):
        return [task for task in self.tasks(service) if not task.state.terminal]

    def live_everywhere(self):
        return [task for task in self.find(Task) if not task.state.terminal]

    def running(self, service="web"):
        return [task for task in self.tasks(service) if task.state is TaskState.RUNNING]

    def one(self, service="web"):
        (task,) = self.live(service)
        return task

    def service(self, name="web", app="shop"):
        return self.get(Service, f"{app}/{name}")
