"""When most members of the store cannot be reached, answers say that they may be old, and changes fail soon."""

from pilothouse.cli.client import decode
from pilothouse.cli.transport import without_flag
from pilothouse.errors import QuorumLostError
from pilothouse.model.api import Info
from pilothouse.store.memory import MemoryStore
from tests.server.harness import World


class LonelyStore(MemoryStore):
    """A store whose other members are gone while *stale_since* is set."""

    def __init__(self):
        super().__init__()
        self.stale_since = None
        self.stale_reads = 0

    async def view(self, fn):
        self.stale_reads += self.stale_since is not None
        return await super().view(fn)

    async def update(self, writer, fn):
        if self.stale_since is not None:
            raise QuorumLostError("the store did not answer")
        return await super().update(writer, fn)


async def test_an_answer_that_may_be_old_says_so():
    store = LonelyStore()
    server = World(store)
    answer = await server.get("/v1/info")
    assert (answer.headers.get("pilothouse-stale"), "stale" in answer.json) == (None, False)
    store.stale_since = 1234.5
    answer = await server.get("/v1/info")
    assert answer.status == 200
    assert answer.headers["pilothouse-stale"] == "1234.500"
    assert answer.json["stale"] == 1234.5
    assert (await server.get("/v1/apps")).json == {"stale": 1234.5, "items": []}
    store.stale_since = None
    assert "stale" not in (await server.get("/v1/info")).json


async def test_a_client_reads_a_flagged_answer_like_any_other():
    store = LonelyStore()
    server = World(store)
    plain = (await server.get("/v1/info")).body
    store.stale_since = 1234.5
    flagged = (await server.get("/v1/info")).body
    assert decode(without_flag(flagged, "1234.500"), Info) == decode(plain, Info)
    assert without_flag(b'{"stale":1234.500}', "1234.500") == b"{}"
    assert without_flag(b"[]", "1234.500") == b"[]"


async def test_a_change_is_refused_with_the_time_to_try_again():
    store = LonelyStore()
    server = World(store)
    store.stale_since = 1234.5
    answer = await server.call("POST", "/v1/grants", {"app": "shop", "kind": "privileged", "reason": "why"})
    assert (answer.status, answer.json["code"]) == (503, "PH208")
    assert answer.headers["retry-after"] == "2"
