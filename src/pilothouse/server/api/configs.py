"""The configs of apps, without contents."""

from pilothouse.governance.identity.permissions import Permission
from pilothouse.model.objects import Config
from pilothouse.server.api.lists import listing

ROUTES = (listing(Config, "configs", Permission.APP_READ, "The configs of apps, without contents"),)
