"""Networks and volumes through the engine: ours carry our label, others are left alone."""

import json

from pilothouse.agent.runtime.docker.answers import IdAnswer, LabelledAnswer, VolumesAnswer
from pilothouse.agent.runtime.docker.dialect import Dialect
from pilothouse.agent.runtime.docker.failures import MissingError, TakenError
from pilothouse.agent.runtime.docker.part import Part
from pilothouse.agent.runtime.interface import NetworkPlan
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.names import APP_LABEL, INSTALLATION_LABEL
from pilothouse.model.spec import NetworkSpec

COMPOSE_PROJECT = "com.docker.compose.project"
_OURS = {"filters": json.dumps({"label": [APP_LABEL]})}


class Networks(Part):
    """Make, remove and list networks."""

    async def ensure_network(self, name: str, options: NetworkPlan) -> None:
        found = await self._network(name)
        if found is None and options.spec.external:
            raise PermanentError(
                f"networks.{options.spec.key} is external, and there is no network {name} on this node: create it with "
                f"`docker network create {name}`, or remove `external: true`"
            )
        if found is None:
            body = network_body(name, options, await self._client.dialect())
            try:
                await self._client.call("POST", "/networks/create", f"create the network {name}", IdAnswer, body=body)
            except TakenError as taken:  # somebody made it since we looked
                found = await self._network(name)
                if found is None:
                    raise TemporaryError(str(taken), delay_seconds=0.5) from taken
            else:
                return
        _check_owner(name, options, found.labels if found else None)

    async def remove_network(self, name: str, installation: str = "") -> bool:
        found = await self._network(name)
        if found is None or not _made_by(installation, found.labels):
            return True
        try:
            await self._client.call("DELETE", f"/networks/{name}", f"remove the network {name}", type(None))
        except MissingError:
            return True
        except (TemporaryError, PermanentError):  # Docker says 403 of one that is in use, Podman 500
            return False
        return True

    async def list_networks(self, installation: str = "") -> tuple[str, ...]:
        found = await self._client.call("GET", "/networks", "list networks", list[LabelledAnswer], params=_OURS)
        return tuple(sorted(each.name for each in found if _made_by(installation, each.labels)))

    async def _network(self, name: str) -> LabelledAnswer | None:
        try:
            found = await self._client.call("GET", f"/networks/{name}", f"inspect the network {name}", LabelledAnswer)
        except MissingError:
            return None
        return found if found.name == name else None  # it also finds by the beginning of an id


class Volumes(Part):
    """Make, remove and list volumes."""

    async def ensure_volume(
        self, name: str, app: str, driver: str, options: dict[str, str], installation: str = ""
    ) -> None:
        if await self._volume(name) is not None:
            return
        labels = _ours(app, installation)
        body = {"Name": name, "Driver": driver or "local", "DriverOpts": options, "Labels": labels}
        await self._client.call("POST", "/volumes/create", f"create the volume {name}", LabelledAnswer, body=body)

    async def remove_volume(self, name: str, installation: str = "") -> bool:
        found = await self._volume(name)
        if found is None or not _made_by(installation, found.labels):
            return True
        try:
            await self._client.call("DELETE", f"/volumes/{name}", f"remove the volume {name}", type(None))
        except MissingError:
            return True
        except TakenError:
            return False
        return True

    async def has_volume(self, name: str) -> bool:
        return await self._volume(name) is not None

    async def list_volumes(self) -> tuple[str, ...]:
        found = await self._client.call("GET", "/volumes", "list volumes", VolumesAnswer, params=_OURS)
        return tuple(sorted(each.name for each in found.volumes or []))

    async def _volume(self, name: str) -> LabelledAnswer | None:
        try:
            return await self._client.call("GET", f"/volumes/{name}", f"inspect the volume {name}", LabelledAnswer)
        except MissingError:
            return None


def _ours(app: str, installation: str) -> dict[str, str]:
    return {APP_LABEL: app, **({INSTALLATION_LABEL: installation} if installation else {})}


def _made_by(installation: str, labels: dict[str, str] | None) -> bool:
    found = labels or {}
    return APP_LABEL in found and found.get(INSTALLATION_LABEL, "") == installation


def network_body(name: str, options: NetworkPlan, dialect: Dialect) -> dict[str, object]:
    """Return the body of `POST /networks/create`: a pure function of the plan."""
    spec = options.spec
    body: dict[str, object] = {
        "Name": name,
        "CheckDuplicate": True,
        "Driver": spec.driver or "bridge",
        "Internal": spec.internal,
        "Attachable": spec.attachable,
        "EnableIPv6": spec.enable_ipv6,
        "Options": dict(spec.driver_opts),
        "Labels": {**spec.labels, **_ours(options.app, options.installation)},
    }
    if spec.ipam_driver or spec.ipam:
        body["IPAM"] = {"Driver": spec.ipam_driver or "default", "Config": _pools(spec)}
    if spec.enable_ipv4 is not None and dialect.gateway_priority:
        body["EnableIPv4"] = spec.enable_ipv4
    return body


def _pools(spec: NetworkSpec) -> list[dict[str, object]]:
    pools = [
        {"Subnet": p.subnet, "IPRange": p.ip_range, "Gateway": p.gateway, "AuxiliaryAddresses": dict(p.aux_addresses)}
        for p in spec.ipam
    ]
    return [{key: value for key, value in pool.items() if value} for pool in pools]


def _check_owner(name: str, options: NetworkPlan, labels: dict[str, str] | None) -> None:
    """Accept a network that exists if it is external, ours, or what `docker compose` made for the same project."""
    owners = {(labels or {}).get(APP_LABEL), (labels or {}).get(COMPOSE_PROJECT)}
    if not options.spec.external and options.app not in owners:
        raise PermanentError(
            f"the network {name} exists on this node and is not of app {options.app}: give it another name, or say "
            "`external: true` to join it"
        )
