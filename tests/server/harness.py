"""A manager's API in this process: a store in memory, a node that is simulated, and a client that speaks ASGI."""

import asyncio
import contextlib
import json

from pilothouse.governance.identity.principal import Principal
from pilothouse.governance.secrets.seal import Vault
from pilothouse.ids import SeededIds
from pilothouse.model.container import ContainerSpec
from pilothouse.model.images import NodeImage, NodeImages, Reclaimed
from pilothouse.model.objects import Task
from pilothouse.model.spec import AppSpec, ServiceSpec, TaskSpec
from pilothouse.model.wire import ForeignContainer, ImageProgress, LogLine, Stream, TaskUsage
from pilothouse.server.api.context import Context
from pilothouse.server.api.dispatch import Api
from pilothouse.server.api.routes import ROUTES
from pilothouse.server.commits import Commits
from pilothouse.server.sessions.registry import Nodes
from pilothouse.store.memory import MemoryStore

ALICE = Principal(kind="uid", id="1000", name="alice")
NOW = 1_000_000.0


class TestClock:
    """Wall-clock time that stands still unless a test moves it; waiting follows the event loop."""

    __test__ = False

    def __init__(self, now=NOW):
        self.at = now

    def now(self):
        return self.at

    def monotonic(self):
        return asyncio.get_running_loop().time()

    def boottime(self):
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds):
        await asyncio.sleep(max(0.0, seconds))


class SimulatedNode:
    """A node that has some images and remembers some lines; keeps the contract of NodeServices."""

    def __init__(self, images=("web:1", "db:1", "img")):
        self.images = {ref: f"sha256:{ref}" for ref in images}
        self.pullable = {}
        self.digests = {}
        self.lines = {}
        self.live = {}
        self.foreign = ()
        self.adopted = {}
        self.asked = []
        self.usage = ()
        self.stock = NodeImages(images=(NodeImage(id="sha256:old", names=("old:1",), size_bytes=1 << 20),))
        self.pruned = 0

    async def ensure_image(self, ref, policy, platform=""):
        self.asked.append((ref, policy, platform))
        if ref in self.pullable and policy != "never":
            self.images[ref] = self.pullable[ref]
        if ref in self.images or ref in self.images.values():
            yield ImageProgress(
                ref=ref, phase="resolved", id=self.images.get(ref, ref), digest=self.digests.get(ref, "")
            )
            return
        yield ImageProgress(ref=ref, phase="pulling")
        yield ImageProgress(ref=ref, phase="failed", message="no such image")

    async def logs(self, query):
        kept = [line for line in self.lines.get(query.task_id, ()) if query.since is None or line.at >= query.since]
        for line in kept[-query.tail :] if query.tail else [] if query.tail == 0 else kept:
            yield line
        if query.follow and query.task_id in self.live:
            queue = self.live[query.task_id]
            while (line := await queue.get()) is not None:
                yield line

    async def stats(self):
        return self.usage

    async def list_foreign(self):
        return tuple(f for f in self.foreign if f.id not in self.adopted)

    async def list_images(self):
        return self.stock

    async def prune_images(self):
        self.pruned += 1
        return Reclaimed(at=NOW, reason="a person asked for it", images=("old:1",), count=1, freed_bytes=1 << 20)

    async def adopt(self, container_id, task):
        self.adopted[container_id] = task.id


def line(task_id, at, text):
    return LogLine(task_id=task_id, at=at, stream=Stream.OUT, text=text)


def reading(task_id):
    return TaskUsage(task_id=task_id, at=NOW, cpu_nano_total=1, memory_bytes=2, memory_limit_bytes=0, pids=1)


def foreign(id, **fields):
    return ForeignContainer(id=id, **fields)


class Reply:
    """One answer, whole."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:500]!r}>"


async def call(api, method, target, body=None, headers=(), principal=ALICE, raw=None):
    """Return the whole answer of an API to one request."""
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    sent = []
    waiting = [content]

    async def receive():
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await api(scope(method, target, headers, principal, content), receive, send)
    assert sent[-1]["more_body"] is False
    head = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return Reply(sent[0]["status"], head, b"".join(m.get("body", b"") for m in sent[1:]))


class World:
    """One manager's API and a way to call it."""

    def __init__(self, store=None, node=None, **context):
        self.store = store or MemoryStore()
        self.node = node or SimulatedNode()
        self.clock = TestClock()
        nodes = Nodes()
        nodes.connect("n1", self.node)
        self.context = Context(
            store=self.store,
            clock=self.clock,
            ids=SeededIds(1),
            vault=Vault(b"k" * 32),
            nodes=nodes,
            commits=Commits(),
            closing=asyncio.Event(),
            started_at=NOW,
            **context,
        )
        self.api = Api(ROUTES, self.context)
        self._watched = False

    async def call(self, method, target, body=None, headers=(), principal=ALICE, raw=None):
        """Return the whole answer to one request."""
        return await call(self.api, method, target, body, headers, principal, raw)

    async def get(self, target, **options):
        return await self.call("GET", target, **options)

    @contextlib.asynccontextmanager
    async def stream(self, target, principal=ALICE, push=None, told=None):
        """Yield a queue of the chunks of a streamed answer; leaving is hanging up.

        With *push* the connection takes bytes at once as well; *told* is given what else is sent.
        """
        chunks = asyncio.Queue()
        left = asyncio.Event()

        async def receive():
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            await chunks.put(message)
            if told is not None:
                told.extend(message.get("body", b""))

        async def watch():
            if self._watched:
                return  # as in a manager, there is one watch for all
            self._watched = True
            try:
                async with asyncio.timeout(20):
                    await self.context.commits.run(self.store)
            finally:
                self._watched = False

        asked = scope("GET", target, (), principal, b"")
        if push is not None:
            asked["state"]["push"] = push
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(watch())
            serving = group.create_task(self.api(asked, receive, send))
            try:
                async with asyncio.timeout(10):
                    yield chunks
                    left.set()
                    await serving
            finally:
                watching.cancel()
                serving.cancel()


def scope(method, target, headers, principal, content):
    path, _, query = target.partition("?")
    encoded = [(k.lower().encode(), v.encode()) for k, v in headers]
    if content:
        encoded.append((b"content-length", str(len(content)).encode()))
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": encoded,
        "state": {"principal": principal} if principal else {},
    }


def service(name, image="img", **fields):
    container = {k: fields.pop(k) for k in list(fields) if k in ContainerSpec.__struct_fields__}
    return ServiceSpec(name=name, task=TaskSpec(container=ContainerSpec(image=image, **container)), **fields)


def shop(*services, **fields):
    return AppSpec(name="shop", services=services or (service("web", "web:1"), service("db", "db:1")), **fields)


def task_of(service, id="t00000000001", slot=1, **fields):
    return Task(
        id=id, app=service.app, service=service.name, slot=slot, spec=service.spec.task, image=service.image,
        fingerprint="f", **fields,
    )  # fmt: skip
