"""`pilothouse init`: make this machine the first manager of a cluster."""

import importlib
import os

import click

from pilothouse.cli import lifecycle, options, output
from pilothouse.cli.cluster_client import ClusterClient
from pilothouse.cli.command import command
from pilothouse.cli.places import places
from pilothouse.cli.transport import Transport
from pilothouse.model.addresses import join_address, split_address
from pilothouse.model.cluster_api import TokenRequest
from pilothouse.model.counts import count

_JOINING = "pilothouse.cli.joining"


@command(
    "init",
    examples=[
        ("pilothouse init", "this machine becomes the first manager; the command to join with is printed"),
        ("pilothouse init --advertise 10.0.0.5", "with the address that the other machines reach it at"),
        ("pilothouse init --advertise manager.example.org:9443", "and another port; the ports after it follow"),
    ],
)
@click.option(
    "--advertise",
    default="",
    metavar="HOST[:PORT]",
    help="Where other machines reach this one. Default: its address on the way out, and port 7443.",
)
@options.as_json
@options.directories
def init(*, advertise: str, as_json: bool, data: str | None, run: str | None) -> None:
    """Make this machine the first manager of a cluster.

    The server is started if none runs. A platform with apps becomes a cluster while they run on; nothing of them is
    touched. Other machines join with the command that is printed, within half an hour; `pilothouse token create` makes
    further ones. The API is then also served at the advertised address, with TLS.
    """
    root = click.get_current_context().find_root()
    found = places(os.environ, data=data, run=run, socket=root.params.get("socket"))
    # By name: a command that talks to a server needs no cryptography.
    address = advertise or importlib.import_module(_JOINING).own_address()
    reached = join_address(*split_address(address))
    lifecycle.ensure(found, output.note)
    client = ClusterClient(Transport(found.socket))
    cluster = client.init(reached)
    made = client.make_token(TokenRequest())
    if as_json:
        output.json({**output.plain(cluster), "token": made.token, "address": made.address})
        return
    output.line(f"this machine ({cluster.node_id}) is a manager of the cluster {cluster.cluster}, at {reached}")
    output.line(f"{count(cluster.nodes, 'node')} so far; have another machine join within half an hour:")
    output.line(f"  pilothouse join {made.address} {made.token}")
