"""The secrets of apps, without contents."""

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.objects import Secret
from pilothouse.server.api.lists import listing

ROUTES = (listing(Secret, "secrets", Permission.APP_READ, "The secrets of apps, without contents"),)
