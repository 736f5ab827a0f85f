"""Engine-wide names another app already uses: naming a volume or network like that would reach into that app."""

from pilothouse.model.objects import Network, Volume
from pilothouse.model.spec import AppSpec
from pilothouse.store.interface import ReadTx


def taken_names(tx: ReadTx, spec: AppSpec) -> frozenset[tuple[str, str]]:
    """Return ("volume" or "network", name) of what *spec* names as its own and another app has."""
    volumes = {v.name for v in spec.volumes if not v.external and v.name != f"{spec.name}_{v.key}"}
    networks = {n.name for n in spec.networks if not n.external and n.name != f"{spec.name}_{n.key}"}
    if not volumes and not networks:
        return frozenset()
    found = {("volume", v.spec.name) for v in tx.find(Volume) if v.app != spec.name and v.spec.name in volumes}
    found |= {("network", n.spec.name) for n in tx.find(Network) if n.app != spec.name and n.spec.name in networks}
    return frozenset(found)
