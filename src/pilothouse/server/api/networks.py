"""The networks of apps."""

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.objects import Network
from pilothouse.server.api.lists import listing

ROUTES = (listing(Network, "networks", Permission.APP_READ, "The networks of apps"),)
