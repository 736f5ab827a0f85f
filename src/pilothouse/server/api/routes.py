"""Every route of the API, from one module per noun; and the document that lists them."""

from pilothouse.governance.identity.permissions import Permission
from pilothouse.server.api import (
    adopt,
    apps,
    audit,
    cluster,
    configs,
    doctor,
    events,
    explain,
    formats,
    grants,
    images,
    info,
    inspect,
    logs,
    networks,
    node_images,
    nodes,
    placement,
    releases,
    secrets,
    services,
    stats,
    store,
    tasks,
    tokens,
    volumes,
)
from pilothouse.server.api.openapi import document
from pilothouse.server.api.route import Call, NoQuery, Route

_NOUNS = (
    info,
    doctor,
    apps,
    adopt,
    releases,
    services,
    tasks,
    logs,
    inspect,
    explain,
    events,
    images,
    stats,
    nodes,
    node_images,
    cluster,
    formats,
    tokens,
    placement,
    volumes,
    networks,
    secrets,
    configs,
    grants,
    audit,
    store,
)


async def openapi(_call: Call[NoQuery, None]) -> dict[str, object]:
    """Return the OpenAPI document."""
    return document(ROUTES)


ROUTES: tuple[Route, ...] = (
    *(route for noun in _NOUNS for route in noun.ROUTES),
    Route(
        method="GET",
        path="/openapi.json",
        name="api.read",
        summary="This document",
        permission=Permission.API_READ,
        handler=openapi,
    ),
)
