"""A manager without an agent of its own: SQLite, all loops, the API on a socket, agents over TLS. Not a bench itself.

    bench/headless.py DIRECTORY PORT [PROFILE-FILE]

DIRECTORY holds `store/`, `m1/` with the manager's key and certificate, and `nodes.json`, from which the cluster is made
if the store is empty. Listens for the API at DIRECTORY/api.sock. Ends at SIGTERM; prints "ready" once it serves.
"""

import asyncio
import contextlib
import json
import pathlib
import signal
import sys

import msgspec
import uvloop
from sampling import sampled

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "src"))

from pilothouse import log
from pilothouse.clock import SystemClock
from pilothouse.governance.secrets.seal import load_vault
from pilothouse.ids import SystemIds
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import server_context
from pilothouse.model.certificate import Certificate
from pilothouse.model.cluster import CLUSTER_ID, Authority, AuthorityState, Cluster, ManagerMember
from pilothouse.model.node import Node
from pilothouse.model.states import Writer
from pilothouse.server import interpreter
from pilothouse.server.manager import Manager
from pilothouse.server.sessions.listener import SessionListener
from pilothouse.store.sqlite import SQLiteStore
from pilothouse.supervise import run_term


def found(tx, cluster, clock, port):
    """Make the cluster, its manager and its nodes."""
    now = clock.now()
    tx.put(Cluster(id=CLUSTER_ID, cluster=cluster["id"], created_at=now))
    tx.put(
        Authority(
            id="1",
            certificate=cluster["authority"],
            sealed_key=b"",
            state=AuthorityState.ACTIVE,
            created_at=now - 3600,
            not_after=now + 300 * 86_400,
        )
    )
    address = f"127.0.0.1:{port}"
    tx.put(ManagerMember(id="m1", api="127.0.0.1:1", sessions=address, approved_at=now))
    for name, shown in cluster["nodes"].items():
        certificate = msgspec.convert(shown, Certificate)
        tx.put(Node(id=name, role="agent", joined_at=now, certificates=(certificate,)))


async def main(directory, port):
    interpreter.prepare()
    clock, ids = SystemClock(), SystemIds()
    store = await SQLiteStore.open(directory / "store", clock)
    manager = Manager(store=store, clock=clock, ids=ids, vault=load_vault(directory / "store"), store_name="sqlite")
    if not await store.view(lambda tx: tx.get(Cluster, CLUSTER_ID)):
        cluster = json.loads((directory / "nodes.json").read_text())
        await store.update(Writer.API, lambda tx: found(tx, cluster, clock, port))
    reception = manager.reception(epoch=1)
    listener = SessionListener(server_context(Credentials(directory / "m1")), clock)
    listener.lead(reception)
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    async with asyncio.TaskGroup() as group:
        term = group.create_task(run_term({**manager.loops(), **reception.loops(), "listener": listener.run}))
        await manager.listener.open_unix(directory / "api.sock")
        await listener.open("127.0.0.1", port)
        interpreter.settle()
        print("ready", flush=True)
        await asked.wait()
        listener.close()
        await manager.listener.close(grace_seconds=0.5)
        term.cancel()
    await store.close()


if __name__ == "__main__":
    log.set_level("warning")
    with (
        sampled(sys.argv[3]) if len(sys.argv) > 3 else contextlib.nullcontext(),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(main(pathlib.Path(sys.argv[1]), int(sys.argv[2])))
