"""The machines that run an agent."""

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.api import Page
from pilothouse.model.objects import Node
from pilothouse.server.api.lists import all_of
from pilothouse.server.api.route import Paged, Route

ROUTES = (
    Route(
        method="GET",
        path="/v1/nodes",
        name="nodes.list",
        summary="The machines that run an agent",
        permission=Permission.NODE_READ,
        handler=all_of(Node),
        query=Paged,
        answer=Page[Node],
    ),
)
