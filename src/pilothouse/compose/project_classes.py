"""The class of every top-level key and of what stands below networks, volumes, secrets and configs."""

from pilothouse.compose.classes import Verdict, care, granted, honoured, refused

PROJECT: dict[str, Verdict] = {
    "version": honoured("is obsolete and never chooses behaviour; it can go"),
    "name": honoured("the app's name"),
    "include": honoured("is resolved when the file is loaded"),
    "services": honoured("each becomes a service of the app"),
    "networks": honoured("each becomes an engine network of the app"),
    "volumes": honoured("each becomes a volume; it outlives the app unless a person says otherwise"),
    "secrets": honoured("content is read by the client and sealed by the server"),
    "configs": honoured("content is read by the client"),
    "models": refused("no model runner is managed yet", "run a model server as a service"),
}

NETWORK: dict[str, Verdict] = {
    "attachable": honoured("is passed to the engine"),
    "driver": granted(
        "bridge is free and overlay is the same on one host; other drivers act as root", "network-driver"
    ),
    "driver_opts": granted("the usual bridge options are free; others act with the host's rights", "network-option"),
    "enable_ipv4": honoured("is passed to the engine"),
    "enable_ipv6": honoured("is passed to the engine"),
    "external": granted("the network is not this app's to decide on", "external-network"),
    "internal": honoured("has no way out"),
    "ipam": honoured("subnets, ranges, gateways and auxiliary addresses"),
    "labels": honoured("labels of the network"),
    "name": honoured("the engine-wide name"),
}
NETWORK_BELOW: dict[str, Verdict] = {
    "ipam.driver": granted("the default driver is free", "network-driver"),
    "ipam.options": refused("options of address drivers are not supported", "remove them"),
}

VOLUME: dict[str, Verdict] = {
    "driver": granted("local is free; a plugin runs with the host's rights", "volume-driver"),
    "driver_opts": granted("a tmpfs is free; what else is mounted needs a grant", "volume-driver", "host-path"),
    "external": granted("the volume is not this app's own", "external-volume"),
    "labels": honoured("labels of the volume"),
    "name": honoured("the engine-wide name"),
}

_UNMANAGED = refused("no driver for files is managed", "use file, environment or external")

SECRET: dict[str, Verdict] = {
    "driver": _UNMANAGED,
    "driver_opts": _UNMANAGED,
    "environment": honoured("the client's variable becomes the content"),
    "external": care("it must have been stored by an earlier deployment", "write file or environment instead"),
    "file": honoured("is read by the client"),
    "labels": honoured("labels of the secret"),
    "name": honoured("the platform-wide name"),
    "template_driver": refused("contents are not templates", "fill the file in before `pilothouse up`"),
}

CONFIG: dict[str, Verdict] = {
    **{key: verdict for key, verdict in SECRET.items() if key not in {"driver", "driver_opts"}},
    "content": honoured("the manifest itself holds the content; variables in it are filled in"),
    "labels": honoured("labels of the config"),
}
