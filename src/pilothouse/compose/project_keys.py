"""The top level of a Compose file: services, networks, volumes, secrets, configs, models, include."""

from pilothouse.compose.keys import LABELS, STRING_OR_NUMBER, flag, listing, options, pairs, strings, text
from pilothouse.compose.service_keys import SERVICE
from pilothouse.compose.shapes import USER_KEY, Field, Named, Pairs, Scalar, Shape, Struct

_EXTERNAL = Field(
    Struct(
        fields={"name": text()},
        short=frozenset({"boolean", "string"}),
        plain="flag",
        cast="flag",
    )
)
_NAMES = frozenset({"string"})

_POOL = Struct(
    fields={
        "subnet": text(),
        "gateway": text(),
        "ip_range": text(),
        "aux_addresses": Field(Pairs(codec="mapping", values=_NAMES, listed=False)),
    }
)

_NETWORK = Struct(
    fields={
        "name": text(),
        "driver": text(),
        "driver_opts": options(),
        "ipam": Field(
            Struct(
                fields={
                    "driver": text(),
                    "config": listing(_POOL, merge="pools"),
                    "options": Field(Pairs(codec="mapping", values=_NAMES, listed=False, unique="key"), silent=True),
                }
            ),
            always=True,
        ),
        "external": _EXTERNAL,
        "internal": flag(cast=True),
        "attachable": flag(cast=True),
        "labels": LABELS,
        "enable_ipv4": flag(cast=True, keep=True),
        "enable_ipv6": flag(cast=True, keep=True),
    },
    nullable=True,
    long="external",
)

_VOLUME = Struct(
    fields={
        "name": text(),
        "driver": text(),
        "driver_opts": options(),
        "external": _EXTERNAL,
        "labels": pairs("labels", merge="sequence"),
    },
    nullable=True,
    long="external",
    path="driver_device",
)

_FILE = {
    "name": text(),
    "file": text(path="unix"),
    "environment": text(),
    "content": text(),
    "external": _EXTERNAL,
    "labels": pairs("labels"),
    "driver": text(),
    "driver_opts": Field(Pairs(codec="texts", values=STRING_OR_NUMBER, listed=False)),
    "template_driver": text(),
}

_CONFIG = Struct(
    fields={key: field for key, field in _FILE.items() if key not in {"driver", "driver_opts"}}, long="external"
)
_SECRET = Struct(fields={key: field for key, field in _FILE.items() if key != "content"}, long="external")

_MODEL = Struct(
    fields={
        "name": text(),
        "model": text(),
        "context_size": Field(Scalar(accepts=frozenset({"integer"}), codec="whole")),
        "runtime_flags": strings(),
    },
    required=("model",),
)

_INCLUDE = Struct(
    fields={
        "path": strings(distinct=True, lone=True),
        "env_file": strings(distinct=True, lone=True),
        "project_directory": text(),
    },
    extensions=False,
    short=_NAMES,
    long="include",
)


def _named(value: Shape, key: str = USER_KEY) -> Field:
    return Field(Named(value=value, key=key))


#: The whole file, in the order in which a loaded project is printed as YAML.
PROJECT = Struct(
    fields={
        "version": text(),
        "include": listing(_INCLUDE),
        "name": text(),
        "services": _named(Struct(fields=SERVICE)),
        "networks": _named(_NETWORK, ".*"),
        "volumes": _named(_VOLUME),
        "secrets": _named(_SECRET),
        "configs": _named(_CONFIG),
        "models": _named(_MODEL, ".*"),
    }
)
