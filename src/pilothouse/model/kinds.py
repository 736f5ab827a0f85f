"""Every kind of object that the store keeps."""

from pilothouse.model.base import Object
from pilothouse.model.cluster import Authority, Cluster, Disruption, JoinToken, ManagerMember
from pilothouse.model.format import Format
from pilothouse.model.node import Node
from pilothouse.model.objects import App, AuditRecord, Config, Grant, Network, Secret, Service, Task, Volume
from pilothouse.model.release import FileVersion, Release, Traffic

KINDS: tuple[type[Object], ...] = (
    App,
    Service,
    Task,
    Node,
    Network,
    Volume,
    Secret,
    Config,
    Grant,
    AuditRecord,
    Release,
    FileVersion,
    Traffic,
    Cluster,
    Authority,
    JoinToken,
    ManagerMember,
    Disruption,
    Format,
)
