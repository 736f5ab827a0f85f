"""Schemathesis over the whole API, in this process: generated requests, valid and not, and what no answer may be."""

import asyncio
import collections
import contextlib

import msgspec
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from pilothouse.model.spec import FileSpec, VolumeSpec
from tests.server.harness import ALICE, World, service, shop

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
HANG_UP_SECONDS = 0.01
KNOWN = {
    "app": "shop",
    "service": "web",
    "kind": "service",
    "id": "shop/web",
    "task": "t00000000001",
    "number": "1",
    "node": "n1",
    "member": "1",
}


class Target:
    """The API over a simulated node, for a caller that hangs up on streams soon; every request finds the same world."""

    def __init__(self):
        self.answers = collections.Counter()
        self._world = None

    async def __call__(self, scope, receive, send):
        world = await made()
        complete = asyncio.Event()

        async def hearing():
            if complete.is_set():
                await asyncio.sleep(HANG_UP_SECONDS)
                return {"type": "http.disconnect"}
            message = await receive()
            if not message.get("more_body", False):
                complete.set()
            return message

        async def telling(message):
            if message["type"] == "http.response.start":
                self.answers[message["status"]] += 1
            await send(message)

        if scope["type"] == "http":
            if scope["method"] == "GET":
                complete.set()
            await world.api({**scope, "state": {"principal": ALICE}}, hearing, telling)


async def made():
    """Return a world with an app in it, fresh for every event loop."""
    world = World()
    spec = shop(
        service("web", "img"),
        volumes=(VolumeSpec(key="data", name="shop_data"),),
        secrets=(FileSpec(key="k", name="sk"),),
    )
    body = msgspec.to_builtins({"spec": spec, "secrets": {"k": b"x"}})
    answer = await world.call("PUT", "/v1/apps/shop", body)
    assert answer.status == 200, answer
    return world


def fuzz(count, first_seed=0):
    """Send at least *count* requests and return (how many, answers by status); raise on the first bad answer."""
    target = Target()
    schema = openapi.from_asgi("/openapi.json", target)
    operations = [result.ok() for result in schema.get_all_operations()]
    sent, number = 0, first_seed
    while sent < count:
        # What an operation has few forms of is soon through; another round with other seeds fills up the rest.
        each = max(5, -(-(count - sent) // (len(operations) * 2)))
        for operation in operations:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                number += 1
                with contextlib.suppress(Unsatisfiable):  # without parameters and body nothing can be wrong
                    sent += _run(operation.as_strategy(generation_mode=mode), each, number)
    return sent, dict(target.answers)


def _run(strategy, examples, number):
    sent = 0

    @seed(number)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy, known=st.booleans())
    def one(case, known):
        nonlocal sent
        if known:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = KNOWN[name]
        answer = case.call()
        sent += 1
        case.validate_response(answer, checks=CHECKS)

    one()
    return sent
