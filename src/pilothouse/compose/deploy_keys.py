"""The keys under `deploy`: how a service runs on more than one node."""

from pilothouse.compose.keys import (
    DEVICE_REQUEST,
    LABELS,
    duration,
    listing,
    strings,
    struct,
    text,
    whole,
)
from pilothouse.compose.shapes import NUMBER, Field, Scalar, Struct

_UPDATE = {
    "parallelism": Field(Scalar(accepts=frozenset({"integer", "string"}), codec="unsigned", cast="whole", keep=True)),
    "delay": duration(keep=False),
    "failure_action": text(),
    "monitor": duration(keep=False),
    "max_failure_ratio": Field(Scalar(accepts=NUMBER, codec="float32", cast="float")),
    "order": text(choices=("start-first", "stop-first")),
}

_GENERIC = Struct(
    fields={
        "discrete_resource_spec": struct(
            kind=Field(Scalar(keep=True), always=True),
            value=Field(Scalar(accepts=NUMBER, codec="whole", keep=True), always=True),
        )
    }
)

_DEVICES = listing(Struct(fields=DEVICE_REQUEST, required=("capabilities",), default="device_request"))

_CPUS = Field(Scalar(accepts=NUMBER, codec="nanocpus"))
_MEMORY = Field(Scalar(codec="size"))

DEPLOY = Struct(
    fields={
        "mode": text(),
        "replicas": whole(keep=True),
        "labels": LABELS,
        "update_config": Field(Struct(fields=_UPDATE)),
        "rollback_config": Field(Struct(fields=_UPDATE)),
        "resources": Field(
            Struct(
                fields={
                    "limits": struct(cpus=_CPUS, memory=_MEMORY, pids=whole(cast=False)),
                    "reservations": struct(
                        cpus=_CPUS, memory=_MEMORY, devices=_DEVICES, generic_resources=listing(_GENERIC)
                    ),
                },
            ),
            always=True,
        ),
        "restart_policy": struct(
            condition=text(),
            delay=duration(),
            max_attempts=Field(
                Scalar(accepts=frozenset({"integer", "string"}), codec="unsigned", cast="whole", keep=True)
            ),
            window=duration(),
        ),
        "placement": Field(
            Struct(
                fields={
                    "constraints": strings(),
                    "preferences": listing(Struct(fields={"spread": text()})),
                    "max_replicas_per_node": Field(
                        Scalar(accepts=frozenset({"integer", "string"}), codec="unsigned", cast="whole")
                    ),
                },
            ),
            always=True,
        ),
        "endpoint_mode": text(),
    },
    nullable=True,
)
