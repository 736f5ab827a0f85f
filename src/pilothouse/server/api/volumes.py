"""The named volumes of apps."""

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.objects import Volume
from pilothouse.server.api.lists import listing

ROUTES = (listing(Volume, "volumes", Permission.APP_READ, "The named volumes of apps"),)
