"""Scenes from a snapshot: reads each object once per snapshot, however many services look at it."""

from pilothouse.control.orchestrators.decide import wanted_keys
from pilothouse.control.orchestrators.scene import Key, Neighbour, Scene, Slot, slots
from pilothouse.model.cluster import Disruption
from pilothouse.model.fingerprint import fingerprint
from pilothouse.model.node import Node
from pilothouse.model.objects import App, Config, Secret, Service, Task
from pilothouse.model.release import Release, release_id
from pilothouse.model.spec import Condition, Mode, Strategy
from pilothouse.model.states import TaskState
from pilothouse.model.strategy import goes_in_stages
from pilothouse.store.interface import ReadTx


class Scenes:
    """What deciders and views need to know of services, at the revision of one transaction."""

    def __init__(self, tx: ReadTx) -> None:
        self._tx = tx
        self._services: dict[str, Service | None] = {}
        self._apps: dict[str, App | None] = {}
        self._releases: dict[str, Release | None] = {}
        self._bases: dict[str, Release | None] = {}
        self._tasks: dict[str, tuple[tuple[Task, ...], tuple[Task, ...]]] = {}
        self._prints: dict[str, str] = {}
        self._slots: dict[str, dict[Key, Slot]] = {}
        self._members: dict[str, list[Service]] = {}
        self._dependents: dict[str, dict[str, list[str]]] = {}
        self._nodes: tuple[Node, ...] | None = None
        self._requests: dict[str, dict[str, Disruption]] | None = None

    def service(self, service_id: str) -> Service | None:
        """Return a service by its id."""
        if service_id not in self._services:
            self._services[service_id] = self._tx.get(Service, service_id)
        return self._services[service_id]

    def app(self, name: str) -> App | None:
        """Return an app by its name."""
        if name not in self._apps:
            self._apps[name] = self._tx.get(App, name)
        return self._apps[name]

    def release(self, app: App) -> Release | None:
        """Return the newest release of an app, or None if it has none yet."""
        if app.id not in self._releases:
            self._releases[app.id] = self._tx.get(Release, release_id(app.id, app.revision))
        return self._releases[app.id]

    def _base(self, service: Service, release: Release) -> Release | None:
        """Return the stable release before *release*, read only for a service that could go in stages."""
        if service.spec.release.strategy is Strategy.ROLLING or not release.base:
            return None
        if release.app not in self._bases:
            self._bases[release.app] = self._tx.get(Release, release_id(release.app, release.base))
        return self._bases[release.app]

    def services(self, app: str) -> list[Service]:
        """Return the services of an app, ordered by id."""
        if app not in self._members:
            self._members[app] = self._tx.find(Service, app=app)
            self._services.update({service.id: service for service in self._members[app]})
        return self._members[app]

    def tasks(self, service: Service) -> tuple[Task, ...]:
        """Return the tasks of a service that are or were in a slot, dead ones included."""
        return self._both(service)[0]

    def slots(self, service: Service) -> dict[Key, Slot]:
        """Return the slots of a service as they should be now, for whoever only looks at them."""
        if service.id not in self._slots:
            self._slots[service.id] = slots(self.tasks(service), self.fingerprint(service))
        return self._slots[service.id]

    def step_tasks(self, service: Service) -> tuple[Task, ...]:
        """Return the tasks of a service that run a step, dead ones included."""
        return self._both(service)[1]

    def _both(self, service: Service) -> tuple[tuple[Task, ...], tuple[Task, ...]]:
        if service.id not in self._tasks:
            every = self._tx.find(Task, service_id=service.id)
            self._tasks[service.id] = (
                tuple(task for task in every if task.step < 0),
                tuple(task for task in every if task.step >= 0),
            )
        return self._tasks[service.id]

    def nodes(self) -> tuple[Node, ...]:
        """Return every node."""
        if self._nodes is None:
            self._nodes = tuple(self._tx.find(Node))
        return self._nodes

    def disruptions(self, service_id: str) -> dict[str, Disruption]:
        """Return the requests that tasks of a service be replaced, by the task's id; there are few at any time."""
        if self._requests is None:
            self._requests = {}
            for request in self._tx.find(Disruption):
                self._requests.setdefault(f"{request.app}/{request.service}", {})[request.id] = request
        return self._requests.get(service_id, {})

    def fingerprint(self, service: Service) -> str:
        """Return the fingerprint the tasks of a service should have now."""
        if service.id not in self._prints:
            # Set first, so that a cycle, which the loader refuses, could not recurse for ever.
            self._prints[service.id] = ""
            restarted = tuple(
                self.fingerprint(other)
                for edge in sorted(service.spec.depends_on, key=lambda edge: edge.service)
                if edge.restart and (other := self.service(f"{service.app}/{edge.service}")) is not None
            )
            secrets, configs = self.file_versions(service)
            self._prints[service.id] = fingerprint(service, secrets, configs, restarted)
        return self._prints[service.id]

    def file_versions(self, service: Service) -> tuple[dict[str, str], dict[str, str]]:
        """Return the content version of each secret and of each config a service uses, by key."""
        container = service.spec.task.container
        secrets: dict[str, str] = {}
        for grant in container.secrets:
            secret = self._tx.get(Secret, f"{service.app}/{grant.source}")
            secrets[grant.source] = secret.content_version if secret else ""
        configs: dict[str, str] = {}
        for grant in container.configs:
            config = self._tx.get(Config, f"{service.app}/{grant.source}")
            configs[grant.source] = config.content_version if config else ""
        return secrets, configs

    def wanted(self, service: Service) -> tuple[tuple[int, str], ...]:
        """Return the slots a service should have."""
        nodes = self.nodes() if _is_global(service) else ()
        return wanted_keys(service, self.tasks(service), nodes)

    def neighbours(self, service_id: str) -> set[str]:
        """Return the ids of the services whose decisions depend on this one: both ends of its edges."""
        app, _, name = service_id.partition("/")
        found = set(self._edges(app).get(name, ()))
        service = self.service(service_id)
        if service is not None:
            found |= {f"{app}/{edge.service}" for edge in service.spec.depends_on}
        return found

    def _edges(self, app: str) -> dict[str, list[str]]:
        """Return, for each service of an app that others depend on, their ids."""
        if app not in self._dependents:
            edges = self._dependents[app] = {}
            for service in self.services(app):
                for edge in service.spec.depends_on:
                    edges.setdefault(edge.service, []).append(service.id)
        return self._dependents[app]

    def scene(self, service_id: str) -> Scene | None:
        """Return a service with its surroundings, or None if there is none of that id."""
        service = self.service(service_id)
        if service is None:
            return None
        app = self.app(service.app)
        leaving = service.removing or app is None or app.removing
        secrets, configs = self.file_versions(service)
        release = None if app is None else self.release(app)
        return Scene(
            service=service,
            fingerprint=self.fingerprint(service),
            app=app,
            release=release,
            in_stages=release is not None and goes_in_stages(release, self._base(service, release), service.name),
            leaving=leaving,
            asked_by=_asked_by(service, app),
            tasks=self.tasks(service),
            step_tasks=self.step_tasks(service),
            secret_versions=secrets,
            config_versions=configs,
            dependencies={edge.service: self._neighbour(service, edge.service) for edge in service.spec.depends_on},
            live_dependents=self._live_dependents(service, app) if leaving else (),
            nodes=self.nodes() if _is_global(service) else (),
            disruptions=self.disruptions(service_id),
            finite=service.spec.mode.job or self._is_awaited(service),
        )

    def _is_awaited(self, service: Service) -> bool:
        """Whether a dependent waits until tasks of *service* have completed."""
        dependents = (self.service(each) for each in self._edges(service.app).get(service.name, ()))
        edges = (edge for other in dependents if other is not None for edge in other.spec.depends_on)
        return any(edge.service == service.name and edge.condition is Condition.COMPLETED for edge in edges)

    def _neighbour(self, service: Service, name: str) -> Neighbour:
        other = self.service(f"{service.app}/{name}")
        if other is None:
            return Neighbour(service=None)
        return Neighbour(
            service=other, fingerprint=self.fingerprint(other), tasks=self.tasks(other), wanted=self.wanted(other)
        )

    def _live_dependents(self, service: Service, app: App | None) -> tuple[str, ...]:
        everything = app is None or app.removing
        return tuple(
            other.name
            for service_id in self._edges(service.app).get(service.name, ())
            if (other := self.service(service_id)) is not None
            and (everything or other.removing)
            and any(task.state <= TaskState.RUNNING for tasks in self._both(other) for task in tasks)
        )


def _is_global(service: Service) -> bool:
    return service.spec.mode in {Mode.GLOBAL, Mode.GLOBAL_JOB}


def _asked_by(service: Service, app: App | None) -> str:
    if app is None:
        return f"the app {service.app} is gone"
    who = f" by {app.deployed_by}" if app.deployed_by else ""
    if app.removing:
        return f"{app.id} is being taken down"
    if service.removing:
        return f"{service.name} is not in the manifest any more (revision {app.revision}, deployed{who})"
    return f"revision {app.revision} of {app.id}, deployed{who}"
