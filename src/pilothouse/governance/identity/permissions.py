"""What a caller may do. Each API route names exactly one permission; a route without one does not start.

Until roles come, whoever was let onto the socket (its file permissions decide) or holds the token has every
permission; the check is in place so that roles change this module and no route.
"""

import enum

from pilothouse.errors import UnauthorizedError
from pilothouse.governance.identity.principal import Principal


class Permission(enum.Enum):
    """One right that a route needs."""

    PUBLIC = "public"
    SERVER_READ = "server.read"
    SERVER_ADMIN = "server.admin"
    APP_READ = "app.read"
    APP_WRITE = "app.write"
    LOGS_READ = "logs.read"
    NODE_READ = "node.read"
    NODE_WRITE = "node.write"
    CLUSTER_READ = "cluster.read"
    CLUSTER_ADMIN = "cluster.admin"
    TOKEN_READ = "token.read"  # noqa: S105 - the name of a permission
    TOKEN_WRITE = "token.write"  # noqa: S105 - the name of a permission
    IMAGE_WRITE = "image.write"
    GRANT_READ = "grant.read"
    GRANT_WRITE = "grant.write"
    AUDIT_READ = "audit.read"
    API_READ = "api.read"


def require(principal: Principal | None, permission: Permission) -> Principal | None:
    """Return the caller if it may do what *permission* names; None only where nobody needs to be known.

    Raises:
        UnauthorizedError: The caller is not identified and the permission is not PUBLIC.
    """
    if permission is Permission.PUBLIC:
        return principal
    if principal is None:
        raise UnauthorizedError(
            f"{permission.value} needs an identified caller: use the Unix socket, or TCP with a bearer token"
        )
    return principal
