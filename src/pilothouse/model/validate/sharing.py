"""What a container shares with others: namespaces, volumes and links; each names a service of the app."""

from collections.abc import Iterator

from pilothouse.model.spec import ServiceSpec
from pilothouse.model.validate.grammar import Finding

# What an engine knows beside the name of another container.
_PLAIN = {
    "network_mode": frozenset({"", "none", "host", "bridge"}),
    "ipc": frozenset({"", "host", "private", "shareable", "none"}),
    "pid": frozenset({"", "host"}),
    "uts": frozenset({"", "host"}),
    "cgroup": frozenset({"", "host", "private"}),
    "userns_mode": frozenset({"", "host"}),
}
_SHAREABLE = frozenset({"network_mode", "ipc", "pid"})


def sharing(path: str, service: ServiceSpec, known: frozenset[str]) -> Iterator[Finding]:
    """Yield what is wrong with everything *service* takes from another container; *known* are the app's services."""
    container = service.task.container
    others = known - {service.name}
    values = {key: getattr(container.privileges, key) for key in _PLAIN if key != "network_mode"}
    for key, value in {"network_mode": container.network_mode, **values}.items():
        kind, _, name = value.partition(":")
        shareable = key in _SHAREABLE
        if value in _PLAIN[key] or (shareable and kind == "container" and name):
            continue
        if kind != "service" or not shareable:
            words = [*sorted(filter(None, _PLAIN[key])), *(["service:NAME"] if shareable else [])]
            yield f"{path}.{key}", f"{value[:80]!r} is not known; leave it out or write {' or '.join(words)}"
        elif name not in others:
            yield f"{path}.{key}", f"there is no other service {name[:80]!r}; write service: and a service of this app"
    for index, source in enumerate(container.volumes_from):
        yield from _source(f"{path}.volumes_from[{index}]", source, others)
    for index, link in enumerate(container.links):
        if link.partition(":")[0] not in others:
            yield f"{path}.links[{index}]", f"there is no other service {link.partition(':')[0][:80]!r}; define it"


def _source(path: str, source: str, others: frozenset[str]) -> Iterator[Finding]:
    outside = source.startswith("container:")
    name, _, access = source.removeprefix("container:").partition(":")
    if access not in {"", "ro", "rw"}:
        yield path, f"{access[:80]!r} is not known; write ro or rw"
    if not name or (not outside and name not in others):
        yield path, f"there is no other service {name[:80]!r}; define it or remove the line"
