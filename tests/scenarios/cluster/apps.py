"""Apps for simulated clusters: what people run, in small."""

from pilothouse.agent.runtime.fakehost import FakeImage
from pilothouse.model.container import ContainerSpec, Mount, MountKind, NetworkAttachment
from pilothouse.model.spec import (
    AppSpec,
    CutOff,
    CutOffAction,
    Mode,
    NetworkSpec,
    ReleasePolicy,
    Resources,
    RestartCondition,
    RestartPolicy,
    ServiceSpec,
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
    _image("job:1", exit_after_seconds=8.0),
    _image(BAD, exit_after_seconds=0.7, exit_code=1),
)


def service(name, image, *, memory=64, volumes=(), **fields):
    """A service whose tasks reserve *memory* MiB each."""
    mounts = tuple(Mount(kind=MountKind.VOLUME, source=key, target=f"/{key}") for key in volumes)
    container = ContainerSpec(
        image=image, stop_grace_seconds=5.0, mounts=mounts, networks=(NetworkAttachment(network="default"),)
    )
    task = TaskSpec(container=container, reservations=Resources(memory_bytes=memory * MIB))
    return ServiceSpec(name=name, task=task, **fields)


def app(name, *services):
    """An app of *services*, with the network and the volumes that they use."""
    used = {mount.source for each in services for mount in each.task.container.mounts}
    volumes = tuple(VolumeSpec(key=key, name=f"{name}_{key}") for key in sorted(used))
    networks = (NetworkSpec(key="default", name=f"{name}_default"),)
    return AppSpec(name=name, services=services, networks=networks, volumes=volumes)


def shop(image="web:1", replicas=3, database="db:1", **release):
    """A small shop: a web server, a database on a volume, and something on every machine."""
    policy = ReleasePolicy(**release)
    return app(
        "shop",
        service("web", image, memory=128, replicas=replicas, release=policy),
        service("db", database, memory=256, volumes=("data",)),
        service("agent", "agent:1", memory=16, mode=Mode.GLOBAL),
    )


def single(name="one"):
    """An app of one task that must never run twice."""
    return app(name, service("main", "db:1", memory=128, volumes=(), cut_off=CutOff(action=CutOffAction.FENCE)))


def batch(jobs=2):
    """Work that ends."""
    once = RestartPolicy(condition=RestartCondition.ON_FAILURE)
    return app("batch", service("job", "job:1", memory=128, mode=Mode.REPLICATED_JOB, replicas=jobs, restart=once))
