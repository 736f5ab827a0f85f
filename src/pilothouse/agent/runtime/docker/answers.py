"""What the engine answers, as far as the driver reads it, and what it means in our words: pure functions.

Unknown fields are ignored, missing ones have defaults; Docker and Podman differ in what they leave out.
"""

import datetime
import math
from typing import TypeVar

import msgspec

from pilothouse.agent.runtime.interface import ContainerState, ExitStatus
from pilothouse.errors import TemporaryError
from pilothouse.model.names import INSTALLATION_LABEL, RESERVED_LABEL_PREFIX, task_id_of
from pilothouse.model.wire import ForeignContainer

T = TypeVar("T")
MAX_LABEL_BYTES = 65_536
_PHASES = {
    "created": "created",
    "configured": "created",
    "initialized": "created",
    "running": "running",
    "restarting": "running",
    "stopping": "running",
    "paused": "paused",
    "exited": "exited",
    "stopped": "exited",
    "removing": "dead",
    "dead": "dead",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    """Base of every answer: the engine's spelling, unknown fields ignored."""


class HealthAnswer(Answer, frozen=True, kw_only=True):
    """`State.Health`."""

    status: str = ""


class StateAnswer(Answer, frozen=True, kw_only=True):
    """`State` of a container."""

    status: str = ""
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = msgspec.field(name="OOMKilled", default=False)
    error: str = ""
    started_at: str = ""
    finished_at: str = ""
    health: HealthAnswer | None = None


class EndpointAnswer(Answer, frozen=True, kw_only=True):
    """One entry of `NetworkSettings.Networks`."""

    ip_address: str = msgspec.field(name="IPAddress", default="")
    ipv6_address: str = msgspec.field(name="GlobalIPv6Address", default="")


class NetworksAnswer(Answer, frozen=True, kw_only=True):
    """`NetworkSettings`."""

    networks: dict[str, EndpointAnswer] | None = None


class ConfigAnswer(Answer, frozen=True, kw_only=True):
    """`Config` of a container or an image."""

    image: str = ""
    user: str = ""
    tty: bool = False
    labels: dict[str, str] | None = None
    entrypoint: list[str] | None = None


class ContainerAnswer(Answer, frozen=True, kw_only=True):
    """`GET /containers/{name}/json`."""

    id: str
    name: str = ""
    image: str = ""
    state: StateAnswer
    config: ConfigAnswer = ConfigAnswer()
    network_settings: NetworksAnswer = NetworksAnswer()


class ListedAnswer(Answer, frozen=True, kw_only=True):
    """One entry of `GET /containers/json`."""

    id: str
    names: list[str] = []
    state: str = ""

    @property
    def name(self) -> str:
        """The container's own name, without the slash."""
        return next((n.removeprefix("/") for n in self.names if n.count("/") <= 1), "")


class UsedImageAnswer(Answer, frozen=True, kw_only=True):
    """One entry of `GET /containers/json`, as far as its image goes."""

    image_id: str = msgspec.field(name="ImageID", default="")


class StoredAnswer(Answer, frozen=True, kw_only=True):
    """One entry of `GET /images/json`."""

    id: str
    repo_tags: list[str] | None = None
    repo_digests: list[str] | None = None
    size: int = 0
    created: int = 0


class ImageAnswer(Answer, frozen=True, kw_only=True):
    """`GET /images/{name}/json`."""

    id: str
    os: str = ""
    architecture: str = ""
    repo_digests: list[str] | None = None
    config: ConfigAnswer | None = None
    metadata: "MetadataAnswer | None" = None


class MetadataAnswer(Answer, frozen=True, kw_only=True):
    """`Metadata` of an image: when it was last tagged, so also when it was last pulled."""

    last_tag_time: str = ""


class LabelledAnswer(Answer, frozen=True, kw_only=True):
    """A network or a volume."""

    name: str = ""
    labels: dict[str, str] | None = None


class VolumesAnswer(Answer, frozen=True, kw_only=True):
    """`GET /volumes`."""

    volumes: list[LabelledAnswer] | None = None


class IdAnswer(Answer, frozen=True, kw_only=True):
    """The answer to whatever creates something."""

    id: str


class WaitAnswer(Answer, frozen=True, kw_only=True):
    """`POST /containers/{name}/wait`."""

    status_code: int = 0


class ExecAnswer(Answer, frozen=True, kw_only=True):
    """`GET /exec/{id}/json`."""

    exit_code: int | None = None
    running: bool = False
    pid: int = 0
    container_id: str = msgspec.field(name="ContainerID", default="")


class ActorAnswer(Answer, frozen=True, kw_only=True):
    """Whom an event is about."""

    attributes: dict[str, str] = {}


class EventAnswer(Answer, frozen=True, kw_only=True):
    """One line of `GET /events`."""

    actor: ActorAnswer = ActorAnswer()


class InfoAnswer(Answer, frozen=True, kw_only=True):
    """`GET /info`."""

    name: str = ""
    docker_root_dir: str = ""
    os_type: str = msgspec.field(default="", name="OSType")
    architecture: str = ""
    kernel_version: str = ""
    ncpu: int = msgspec.field(name="NCPU", default=0)
    mem_total: int = 0
    runtimes: dict[str, msgspec.Raw] | None = None
    security_options: list[str] | None = None
    live_restore_enabled: bool = False
    warnings: list[str] | None = None


class Problem(msgspec.Struct, frozen=True):
    """What a refusal says."""

    message: str = ""
    cause: str = ""


def decode(data: bytes, kind: type[T]) -> T:
    """Return an answer as *kind*.

    Raises:
        TemporaryError: It is cut off, or nothing like what the engine's API promises.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as error:
        raise TemporaryError(f"the engine's answer cannot be read ({error}): {data[:200]!r}") from error


def seconds_of(stamp: str) -> float | None:
    """Return an engine's time stamp as wall-clock seconds; None for its zero time and for none at all."""
    if not stamp or stamp.startswith("0001-"):
        return None
    moment = datetime.datetime.fromisoformat(stamp)
    return moment.timestamp() if moment.tzinfo else moment.replace(tzinfo=datetime.UTC).timestamp()


def state_of(answer: ContainerAnswer) -> ContainerState:
    """Return a container in our words."""
    name, state = answer.name.removeprefix("/"), answer.state
    phase = _PHASES.get(state.status, "dead")
    running = phase in {"running", "paused"}
    health = state.health.status if state.health else ""
    networks = answer.network_settings.networks or {}
    return ContainerState(
        name=name,
        task_id=task_id_of(name) or "",
        id=answer.id,
        image_id=answer.image if answer.image.startswith("sha256:") else f"sha256:{answer.image}",
        phase=phase,
        health=health if health in {"starting", "healthy", "unhealthy"} else "none",
        pid=state.pid if running else 0,
        started_at=seconds_of(state.started_at),
        addresses={n: e.ip_address or e.ipv6_address for n, e in networks.items() if e.ip_address or e.ipv6_address}
        if running
        else {},
        exit=None if running or phase == "created" else exit_of(state),
        user=answer.config.user,
        installation=(answer.config.labels or {}).get(INSTALLATION_LABEL, ""),
    )


def exit_of(state: StateAnswer) -> ExitStatus:
    """Return how a container that is over ended."""
    return ExitStatus(
        code=state.exit_code,
        oom=state.oom_killed,
        error=state.error,
        started_at=seconds_of(state.started_at),
        finished_at=seconds_of(state.finished_at),
    )


def foreign_of(answer: ContainerAnswer) -> ForeignContainer:
    """Return a container that is not ours, with what Compose's labels say of it."""
    labels = answer.config.labels or {}
    number = labels.get("com.docker.compose.container-number", "")
    return ForeignContainer(
        id=answer.id,
        name=answer.name.removeprefix("/"),
        image=answer.config.image,
        image_id=answer.image,
        project=labels.get("com.docker.compose.project", ""),
        service=labels.get("com.docker.compose.service", ""),
        number=int(number) if number.isascii() and number.isdigit() else 0,
        config_hash=labels.get("com.docker.compose.config-hash", ""),
        running=answer.state.status == "running",
        one_off=labels.get("com.docker.compose.oneoff", "").lower() == "true",
        labels=labels,
        started_at=seconds_of(answer.state.started_at),
    )


def digest_of(ref: str, digests: list[str]) -> str:
    """Return the "NAME@sha256:…" that belongs to *ref*, another one if none does, or ""."""
    name = repository_of(ref)[0]
    short = name.rpartition("/")[2]
    fitting = [d for d in digests if d.split("@")[0] in {name, f"docker.io/{name}", f"docker.io/library/{name}"}]
    similar = [d for d in digests if d.split("@")[0].rpartition("/")[2] == short]
    return next(iter([*fitting, *similar]), "")


def repository_of(ref: str) -> tuple[str, str]:
    """Return (repository, tag or digest) of an image reference; without either the tag is "latest"."""
    if "@" in ref:
        name, _, digest = ref.partition("@")
        return name, digest
    head, colon, tag = ref.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (ref, "latest")


def label_problem(labels: dict[str, str]) -> str:
    """Return why an image with these labels must not run here, or "".

    The engine merges them into the container's, so an image could pretend to be one of ours, or make every list of
    containers expensive.
    """
    reserved = sorted(key for key in labels if key.startswith(RESERVED_LABEL_PREFIX))
    if reserved:
        return f"it has the label {reserved[0][:100]}, and labels that begin with {RESERVED_LABEL_PREFIX} are reserved"
    size = sum(len(key) + len(value) for key, value in labels.items())
    return f"its labels are {math.ceil(size / 1024)} KiB long; at most 64 are taken" if size > MAX_LABEL_BYTES else ""
