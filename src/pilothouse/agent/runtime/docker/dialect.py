"""What the engine at the other end understands: pure functions of what it said about itself.

The driver asks for the newest API version both know. A power an engine lacks is a property here, not a try somewhere.
"""

import msgspec

OLDEST = (1, 41)
NEWEST = (1, 48)


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's kind ("docker" or "podman"), its own version, and the API version to speak with it."""

    kind: str = "docker"
    version: str = ""
    api: tuple[int, int] = OLDEST
    too_old: bool = False

    @property
    def podman(self) -> bool:
        """Whether it is Podman's compatible API."""
        return self.kind == "podman"

    @property
    def prefix(self) -> str:
        """The path every call begins with."""
        return f"/v{self.api[0]}.{self.api[1]}"

    @property
    def all_networks_at_create(self) -> bool:
        """Whether a container may be created on several networks; otherwise the others are connected afterwards."""
        return self.podman or self.api >= (1, 44)

    @property
    def start_interval(self) -> bool:
        """Whether a health check can have another interval until its first success."""
        return not self.podman and self.api >= (1, 44)

    @property
    def endpoint_mac_address(self) -> bool:
        """Whether a MAC address belongs to an endpoint instead of to the container."""
        return not self.podman and self.api >= (1, 44)

    @property
    def annotations(self) -> bool:
        """Whether annotations reach the low-level runtime."""
        return not self.podman and self.api >= (1, 43)

    @property
    def volume_subpath(self) -> bool:
        """Whether a part of a volume can be mounted."""
        return not self.podman and self.api >= (1, 45)

    @property
    def gateway_priority(self) -> bool:
        """Whether the network of the default route can be chosen, and IPv4 be switched off."""
        return not self.podman and self.api >= (1, 48)

    @property
    def image_mounts(self) -> bool:
        """Whether an image can be mounted."""
        return not self.podman and self.api >= (1, 48)


def dialect_of(version: dict[str, object]) -> Dialect:
    """Return the dialect of an engine from its answer to `GET /version`."""
    components = version.get("Components")
    names = [str(each.get("Name", "")) for each in components if isinstance(each, dict)] if components else []  # type: ignore[attr-defined]  # checked in the loop
    kind = "podman" if any("Podman" in name for name in names) else "docker"
    newest, oldest = _version(version.get("ApiVersion")), _version(version.get("MinAPIVersion"))
    return Dialect(
        kind=kind,
        version=str(version.get("Version", "")),
        api=max(min(newest, NEWEST), oldest),
        too_old=newest < OLDEST,
    )


def _version(text: object) -> tuple[int, int]:
    major, _, minor = str(text or "1.0").partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (1, 0)
