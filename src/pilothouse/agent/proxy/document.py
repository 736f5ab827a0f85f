"""What Envoy's files are made of: plain dicts, the names of what is in them, and the form of a resource file. Pure."""

import hashlib

import msgspec

from pilothouse.agent.proxy.shares import Served

Json = dict[str, object]

LISTENERS = "config/lds.json"
CLUSTERS = "config/cds.json"
_TYPES = "type.googleapis.com/envoy"


def typed(kind: str, **fields: object) -> Json:
    """Return a typed extension; *kind* is its message's name without the first word, "envoy."."""
    return {"@type": f"{_TYPES}.{kind}", **fields}


def extension(name: str, kind: str, **fields: object) -> Json:
    """Return an extension under its name."""
    return {"name": name, "typed_config": typed(kind, **fields)}


def from_file(path: str) -> Json:
    """Return where a resource is to be read from."""
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


def port_name(port: Served) -> str:
    """Return the name of a published port, as clusters, routes and statistics carry it."""
    address = "".join(c if c.isalnum() else "_" for c in port.host_ip)
    return f"p{port.host_port}-{address}" if address else f"p{port.host_port}"


def endpoints_file(cluster: str) -> str:
    """Return the path of a cluster's endpoints."""
    return f"config/eds-{cluster}.json"


def routes_file(port: Served) -> str:
    """Return the path of a port's routes."""
    return f"config/rds-{port_name(port)}.json"


def resource_file(resources: list[Json], nonce: int = 0) -> bytes:
    """Return a file of resources; its version says what is in it, and differs with *nonce* for the same content."""
    version = hashlib.sha256(msgspec.json.encode([nonce, resources])).hexdigest()[:16]
    return msgspec.json.encode({"version_info": version, "resources": resources})


def version_of(content: bytes) -> str:
    """Return the version a resource file says it has."""
    return msgspec.json.decode(content, type=_Versioned).version_info


class _Versioned(msgspec.Struct):
    version_info: str


def duration(seconds: float) -> str:
    """Return a duration as Envoy reads it."""
    return f"{seconds:g}s"


def version_statistic(path: str) -> str:
    """Return the name under which Envoy tells the version it has of a resource file."""
    kind, _, name = path.removeprefix("config/").removesuffix(".json").partition("-")
    return {
        "lds": "listener_manager.lds",
        "cds": "cluster_manager.cds",
        "eds": f"cluster.{name}",
        "rds": f"http.{name}.rds.{name}",
    }[kind] + ".version_text"
