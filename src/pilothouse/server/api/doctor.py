"""Looks around for what `pilothouse doctor` judges."""

import asyncio
import os
import pathlib
import shutil
import stat

from pilothouse.errors import QuorumLostError
from pilothouse.governance.identity.permissions import Permission
from pilothouse.governance.secrets.seal import KEY_FILE
from pilothouse.model.api import Finding, Page
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.node import Node
from pilothouse.server.api.context import Context, Replicated
from pilothouse.server.api.route import Call, Paged, Route
from pilothouse.server.doctor import DiskSeen, FileSeen, findings
from pilothouse.server.leftovers import leftovers
from pilothouse.server.upgrading import finding, format_view


async def doctor(call: Call[Paged, None]) -> Page[Finding]:
    """Return what is worth saying about nodes, engine, store, disk and permissions."""
    context = call.context
    nodes, upgrade = await context.store.view(lambda tx: (tuple(tx.find(Node)), finding(format_view(tx))))
    disks, files = await asyncio.to_thread(_look, context)
    members = await _of_members(context)
    return Page(items=findings(nodes, context.nodes.connected, disks, files, (*members, upgrade)))


async def _of_members(context: Context) -> tuple[Finding, ...]:
    """Return what is to be said about the members of a replicated store, those included that nobody needs."""
    if not isinstance(context.keeping, Replicated):
        return ()
    found = await context.keeping.findings()
    managers = await context.store.view(lambda tx: tuple(tx.find(ManagerMember)))
    try:
        members = await context.keeping.members()
    except QuorumLostError:
        # That is the first of what was found.
        return found
    return found + leftovers(managers, members)


def _look(context: Context) -> tuple[tuple[DiskSeen, ...], tuple[FileSeen, ...]]:
    directory = context.data_directory
    if directory is None:
        return (), ()
    usage = shutil.disk_usage(directory)
    guarded = [directory, directory / KEY_FILE, *([context.socket] if context.socket else [])]
    return (DiskSeen(str(directory), usage.total, usage.free),), tuple(_seen(p) for p in guarded if p.exists())


def _seen(path: pathlib.Path) -> FileSeen:
    found = os.stat(path)
    return FileSeen(str(path), stat.S_IMODE(found.st_mode), found.st_uid)


ROUTES = (
    Route(
        method="GET",
        path="/v1/doctor",
        name="doctor.read",
        summary="What is wrong or could become so, and what to do about it",
        permission=Permission.SERVER_READ,
        handler=doctor,
        query=Paged,
        answer=Page[Finding],
    ),
)
