"""Who writes what: one writer per field, as a table the store enforces on every commit.

A request that a task be replaced (`Disruption`) may be made and withdrawn by several, each its own.

A kind that is missing here cannot be written at all, and neither can a field: unknown means no.
"""

import itertools
import operator

from msgspec.structs import astuple

from pilothouse.errors import ForeignWriteError
from pilothouse.model.base import Object
from pilothouse.model.cluster import Authority, Cluster, Disruption, JoinToken, ManagerMember
from pilothouse.model.format import Format
from pilothouse.model.node import Node
from pilothouse.model.objects import App, AuditRecord, Config, Grant, Network, Secret, Service, Task, Volume
from pilothouse.model.release import FileVersion, Release, Traffic
from pilothouse.model.states import Writer, check_transition

_W = Writer

CREATORS: dict[type[Object], Writer | frozenset[Writer]] = {
    App: _W.API,
    Service: _W.API,
    Task: _W.ORCHESTRATOR,
    Node: frozenset({_W.AGENT, _W.API}),
    Network: _W.API,
    Volume: _W.API,
    Secret: _W.API,
    Config: _W.API,
    Grant: _W.API,
    AuditRecord: _W.API,
    Release: _W.API,
    FileVersion: _W.API,
    Traffic: _W.AGENT,
    Cluster: _W.API,
    Authority: _W.API,
    JoinToken: _W.API,
    ManagerMember: _W.API,
    Disruption: frozenset({_W.NODES, _W.SCHEDULER, _W.GOVERNANCE, _W.API}),
    Format: frozenset({_W.NODES, _W.API}),
}

REMOVERS: dict[type[Object], Writer | frozenset[Writer]] = {
    App: _W.REAPER,
    Service: _W.REAPER,
    Task: _W.REAPER,
    Node: _W.API,
    Network: _W.REAPER,
    Volume: _W.REAPER,
    Secret: _W.REAPER,
    Config: _W.REAPER,
    Release: _W.REAPER,
    FileVersion: _W.REAPER,
    Traffic: _W.REAPER,
    Authority: _W.API,
    JoinToken: _W.API,
    ManagerMember: _W.API,
    Disruption: frozenset({_W.NODES, _W.SCHEDULER, _W.GOVERNANCE, _W.API, _W.REAPER}),
}

_TASK_STATE = "state"

OWNERS: dict[type[Object], dict[str, Writer]] = {
    App: {
        **dict.fromkeys(("spec", "revision", "deployed_at", "deployed_by", "removing", "remove_volumes"), _W.API),
        **dict.fromkeys(("paused", "paused_by", "resumed_at"), _W.API),
    },
    Service: {
        **dict.fromkeys(("spec", "image", "restarts_requested", "rolling_back", "removing", "updated_at"), _W.API),
        **dict.fromkeys(("notice", "rollout", "steps"), _W.ORCHESTRATOR),
        "step_images": _W.API,
    },
    Task: {
        "desired_state": _W.ORCHESTRATOR,
        "desired_reason": _W.ORCHESTRATOR,
        "ports": _W.RESOURCES,
        "resource_message": _W.RESOURCES,
        "node_id": _W.SCHEDULER,
        "placement_message": _W.SCHEDULER,
        "image": _W.API,
        "status": _W.AGENT,
    },
    Node: {
        **dict.fromkeys(("spec", "role", "joined_at", "certificates", "rotated_at"), _W.API),
        "description": _W.AGENT,
        **dict.fromkeys(("ready", "state", "message", "since", "losses", "held_until", "pressure"), _W.NODES),
    },
    Network: dict.fromkeys(("spec", "removing"), _W.API),
    Volume: {**dict.fromkeys(("spec", "removing"), _W.API), "nodes": _W.SCHEDULER},
    Secret: dict.fromkeys(("spec", "content_version", "sealed", "removing"), _W.API),
    Config: dict.fromkeys(("spec", "content_version", "content", "removing"), _W.API),
    Grant: {"revoked_at": _W.API},
    Release: dict.fromkeys(("state", "sentence", "since", "stages", "verdicts", "evidence"), _W.RELEASER),
    Cluster: {
        **dict.fromkeys(("spec", "evictions_confirmed_at", "revoked"), _W.API),
        **dict.fromkeys(("evictions_paused_since", "evictions_message"), _W.NODES),
    },
    Authority: dict.fromkeys(("state",), _W.API),
    JoinToken: dict.fromkeys(("used_by", "used_at", "revoked_at"), _W.API),
    ManagerMember: dict.fromkeys(
        ("api", "sessions", "peer", "client", "approved_at", "approved_by", "release", "format"), _W.API
    ),
    Format: {
        **dict.fromkeys(("number", "raised_at"), _W.NODES),
        **dict.fromkeys(("asked_at", "asked_by"), _W.API),
    },
    Traffic: dict.fromkeys(("fingerprint", "measured_from", "measured_at", "old", "new"), _W.AGENT),
}

_ALWAYS = frozenset({"id", "version"})


def check_write(writer: Writer, before: Object | None, after: Object | None) -> None:
    """Accept one object's change if *writer* owns every field of it that changes.

    *before* is None on creation, *after* on deletion.

    Raises:
        ForeignWriteError: A field changed that belongs to another writer or to nobody.
        InvalidTransitionError: A task state moved along an arrow *writer* does not own.
    """
    if after is None:
        if before is not None:
            _check_owner(writer, REMOVERS.get(type(before)), before, "delete")
        return
    if before is None:
        _check_owner(writer, CREATORS.get(type(after)), after, "create")
        if isinstance(after, Task):
            check_transition(writer, None, after.state)
        return
    _check_fields(writer, before, after)


def _check_fields(writer: Writer, before: Object, after: Object) -> None:
    owners = OWNERS.get(type(after), {})
    # Most fields of a copy are the very same object, so that is asked first.
    differ = map(operator.is_not, astuple(before), astuple(after))
    for field in itertools.compress(after.__struct_fields__, differ):
        if field in _ALWAYS:
            continue
        was, now = getattr(before, field), getattr(after, field)
        if was == now:
            continue
        if field == _TASK_STATE and isinstance(before, Task) and isinstance(after, Task):
            check_transition(writer, before.state, after.state)
        elif (owner := owners.get(field)) is not writer:
            _check_owner(writer, owner, after, f"write {field} of")


def _check_owner(writer: Writer, owner: Writer | frozenset[Writer] | None, obj: Object, verb: str) -> None:
    owners = owner if isinstance(owner, frozenset) else {owner}
    if writer not in owners:
        owned_by = " or ".join(sorted(each.value for each in owners if each is not None)) or "nobody"
        raise ForeignWriteError(
            f"{writer.value} may not {verb} {type(obj).__name__} {obj.id}; that belongs to {owned_by}"
        )
