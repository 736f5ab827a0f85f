"""How far an upgrade of Pilothouse itself has come: the format, who runs which version, and what is to be done."""

import pilothouse
from pilothouse.control.nodes.raising import WAIT_SECONDS, holders, number_now
from pilothouse.model.api import Finding
from pilothouse.model.cluster import ManagerMember
from pilothouse.model.cluster_api import FormatView, RunningVersion
from pilothouse.model.format import FORMAT, FORMAT_ID, Format
from pilothouse.model.node import Node
from pilothouse.server.doctor import OK, WARNING
from pilothouse.store.interface import ReadTx


def format_view(tx: ReadTx) -> FormatView:
    """Return the platform's format, and every process as far as it said what it is."""
    found, number = tx.get(Format, FORMAT_ID), number_now(tx)
    managers = [
        RunningVersion(name=each.id, version=each.release, format=each.format) for each in tx.find(ManagerMember)
    ]
    agents = [
        RunningVersion(name=each.id, version=each.description.version, format=each.description.format)
        for each in tx.find(Node)
    ]
    return FormatView(
        number=number,
        newest=FORMAT,
        version=pilothouse.__version__,
        managers=tuple(each for each in managers if each.version),
        agents=tuple(each for each in agents if each.version),
        held_back_by=holders(tx, number + 1) if number < FORMAT else (),
        raised_at=found.raised_at if found is not None else 0.0,
        asked_at=found.asked_at if found is not None else 0.0,
    )


def finding(view: FormatView) -> Finding:
    """Return what `pilothouse doctor` says about it."""
    versions = sorted({each.version for each in (*view.managers, *view.agents)} | {view.version})
    message = f"format {view.number}; {'version' if len(versions) == 1 else 'versions'} {', '.join(versions)}"
    if view.held_back_by:
        return Finding(
            level=WARNING,
            subject="upgrade",
            message=f"{message}; the format is not raised: {'; '.join(view.held_back_by)}",
            advice="finish the upgrade: `pilothouse cluster format` shows who runs which version",
        )
    if view.number < view.newest:
        return Finding(
            level=WARNING,
            subject="upgrade",
            message=f"{message}; the format is raised to {view.number + 1} within {WAIT_SECONDS / 60:.0f} minutes",
            advice="nothing, or `pilothouse cluster format --raise` to have it now; until then you can go back",
        )
    return Finding(level=OK, subject="upgrade", message=message)
