"""A manager's API with a data directory, and what machines and people ask of it."""

from msgspec.structs import replace

from pilothouse.link.credentials import Credentials, leaf_of, new_request, uri_names
from pilothouse.model.join_token import read
from pilothouse.model.node import Node
from pilothouse.model.objects import AuditRecord
from pilothouse.model.states import Writer
from pilothouse.server.cluster.admission import allowed
from pilothouse.server.cluster.renewing import renew
from pilothouse.server.cluster.rotating import Rotating
from tests.server.harness import World, call


class Cluster(World):
    """A manager's API with a data directory."""

    def __init__(self, data):
        self.founded = []
        self.credentials = Credentials(data)
        super().__init__(node_id="m1", credentials=self.credentials, founded=self.founded.append)

    async def init(self, advertise="192.0.2.1:7443"):
        return await self.call("POST", "/v1/cluster", {"advertise": advertise})

    async def token(self, **fields):
        """Make a token and return it taken apart."""
        made = await self.call("POST", "/v1/tokens", fields)
        assert made.status == 201, made
        return read(made.json["token"])

    async def join(self, token, *, hostname="web1", request=None, client="198.51.100.7", **fields):
        body = {
            "token_id": token.token_id,
            "secret": token.secret,
            "request": new_request().text if request is None else request,
            "hostname": hostname,
            **fields,
        }
        return await self.anonymous("POST", "/v1/join", body, client=client)

    async def anonymous(self, method, target, body=None, client="198.51.100.7", raw=None):
        async def api(scope, receive, send):
            await self.api({**scope, "client": (client, 40_000)}, receive, send)

        return await call(api, method, target, body, principal=None, raw=raw)

    async def all(self, kind):
        return await self.store.view(lambda tx: tx.find(kind))

    async def one(self, kind, id):
        return await self.store.view(lambda tx: tx.get(kind, id))

    async def records(self, action):
        return [each for each in await self.all(AuditRecord) if each.action == action]

    async def allowed(self, certificate):
        leaf = leaf_of(certificate)
        return await self.store.view(lambda tx: allowed(tx, f"{leaf.serial_number:x}", uri_names(leaf), self.clock.at))

    async def renew(self, node, request=None):
        return await renew(self.store, self.context.vault, self.clock, node, (request or new_request()).text)

    async def change(self, node, **fields):
        """Write what the nodes' loop would."""
        await self.store.update(Writer.NODES, lambda tx: tx.put(replace(tx.get(Node, node), **fields)))

    async def rotate(self):
        """Let the loop that moves authorities make its passes until nothing is due."""
        rotating = Rotating(self.store, self.clock, self.context.vault)
        while await rotating.act() == self.clock.now():
            pass
