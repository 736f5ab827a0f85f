"""The engine's events, as hints to look again: names of our containers, and "" when something may have been missed."""

import json
from collections.abc import AsyncIterator

import msgspec

from pilothouse import log
from pilothouse.agent.runtime.docker.answers import EventAnswer
from pilothouse.agent.runtime.docker.client import lines_of
from pilothouse.agent.runtime.docker.part import Part
from pilothouse.backoff import delay_seconds
from pilothouse.errors import DriverError, RuntimeUnavailableError
from pilothouse.model.names import task_id_of

LONGEST_WAIT_SECONDS = 2.0
# Not `exec_*` (every health check makes three) and not `attach`, `resize`, `top`: nothing changes with them.
_ACTIONS = ["create", "start", "die", "oom", "destroy", "remove", "pause", "unpause", "rename", "health_status"]
_FILTERS = json.dumps({"type": ["container"], "event": _ACTIONS})


class Signals(Part):
    """Yield what changed, and reconnect for ever."""

    async def events(self) -> AsyncIterator[str]:
        failures = 0
        while True:
            try:
                # A little earlier than now: the engine subscribes only after it answered.
                since = f"{self._clock.now() - 1.0:.3f}"
                params = {"filters": _FILTERS, "since": since}
                async with self._client.stream("GET", "/events", "follow the events", params=params) as answer:
                    failures = 0
                    yield ""
                    async for line in lines_of(answer):
                        for name in _names(line):
                            yield name
            except (RuntimeUnavailableError, DriverError) as error:
                log.event("warning", "engine.events_interrupted", reason=str(error))
            failures += 1
            wait = delay_seconds(failures + 1, fraction=self._ids.fraction(), first=0.1, cap=LONGEST_WAIT_SECONDS)
            await self._clock.sleep(wait)


def _names(line: bytes) -> tuple[str, ...]:
    """Return the names of ours in one event: a rename has two."""
    try:
        attributes = msgspec.json.decode(line, type=EventAnswer).actor.attributes
    except msgspec.DecodeError as error:
        log.event("warning", "engine.event_unreadable", reason=str(error))
        return ("",)
    named = (attributes.get(key, "").removeprefix("/") for key in ("name", "oldName"))
    return tuple(name for name in named if task_id_of(name))
