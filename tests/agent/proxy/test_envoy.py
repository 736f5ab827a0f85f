"""The driver of Envoy keeps the contract, with the real program."""

import pytest

from pilothouse.agent.proxy.conformance import CHECKS
from tests.agent.proxy.real import BINARY, real

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BINARY, reason="Envoy is not installed")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_envoy_keeps_the_contract(check):
    async with real() as around:
        await check(around)
        assert around.process.find() == () or check.__name__ != "a_task_answers_while_its_door_is_open"
