"""Apps for simulated clusters: what people run, in small."""

from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.model.container import ContainerSpec, FileGrant, Mount, MountKind, NetworkAttachment, Port, PortMode
from pilothouse.model.spec import (
    AppSpec,
    CutOff,
    CutOffAction,
    FileSpec,
    Mode,
    NetworkSpec,
    ReleasePolicy,
    ReleaseStep,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceSpec,
    Strategy,
    TaskSpec,
    VolumeSpec,
)

MIB = 1 << 20
GOOD = ("web:1", "web:2", "web:3")
BAD = "bad:1"


def _image(ref, **script):
    """An image as it came from a registry, so that any node could get it; every node has it."""
    name = ref.partition(":")[0]
    return FakeImage(ref=ref, id=f"sha256:{ref}", digest=f"{name}@sha256:{ref.encode().hex():0<64.64}", **script)


IMAGES = (
    *(_image(ref, stops_in_seconds=0.2) for ref in GOOD),
    *(_image(ref, stops_in_seconds=1.5) for ref in ("db:1", "db:2")),
    _image("agent:1"),
    _image("edge:1", stops_in_seconds=0.5),
    _image("job:1", exit_after_seconds=8.0),
    _image(BAD, exit_after_seconds=0.7, exit_code=1),
)


def service(name, image, *, memory=64, volumes=(), ports=(), secrets=(), **fields):
    """A service whose tasks reserve *memory* MiB each."""
    mounts = tuple(Mount(kind=MountKind.VOLUME, source=key, target=f"/{key}") for key in volumes)
    container = ContainerSpec(
        image=image, stop_grace_seconds=5.0, mounts=mounts, networks=(NetworkAttachment(network="default"),),
        ports=tuple(Port(target=80, published=(port, port), mode=PortMode.HOST) for port in ports),
        secrets=tuple(FileGrant(source=key, target=f"/run/secrets/{key}") for key in secrets),
    )  # fmt: skip
    task = TaskSpec(container=container, reservations=Resources(memory_bytes=memory * MIB))
    return ServiceSpec(name=name, task=task, **fields)


def app(name, *services):
    """An app of *services*, with the network, the volumes and the secrets that they use."""
    used = {mount.source for each in services for mount in each.task.container.mounts}
    volumes = tuple(VolumeSpec(key=key, name=f"{name}_{key}") for key in sorted(used))
    networks = (NetworkSpec(key="default", name=f"{name}_default"),)
    keys = {grant.source for each in services for grant in each.task.container.secrets}
    secrets = tuple(FileSpec(key=key, name=f"{name}_{key}") for key in sorted(keys))
    return AppSpec(name=name, services=services, networks=networks, volumes=volumes, secrets=secrets)


def canary(seconds=10.0):
    """Have a new version beside the old one for a while."""
    steps = (ReleaseStep(weight=20, hold_seconds=seconds), ReleaseStep(weight=50, hold_seconds=seconds))
    return {"strategy": Strategy.CANARY, "steps": steps}


def shop(image="web:1", replicas=3, database="db:1", **release):
    """A small shop: a web server, a database on a volume, a port on two machines, and something on every machine."""
    policy = ReleasePolicy(**release)
    return app(
        "shop",
        service("web", image, memory=128, replicas=replicas, release=policy),
        service("db", database, memory=256, volumes=("data",), secrets=("password",)),
        service("edge", "edge:1", memory=16, replicas=2, ports=(8080,), secrets=("certificate",)),
        service("agent", "agent:1", memory=16, mode=Mode.GLOBAL),
    )


def single(name="one"):
    """An app of one task that must never run twice."""
    return app(name, service("main", "db:1", memory=128, volumes=(), cut_off=CutOff(action=CutOffAction.FENCE)))


def batch(jobs=2):
    """Work that ends."""
    once = RestartPolicy(condition=RestartCondition.ON_FAILURE)
    return app("batch", service("job", "job:1", memory=128, mode=Mode.REPLICATED_JOB, replicas=jobs, restart=once))
