"""The verbs of a container's life. Each may be repeated after a crash: names are identities, 304 and 404 are answers.

Starting many containers at once gains nothing past about two per core, so that is how many are let through.
"""

import asyncio
import json
import math
import os
import pathlib
import resource
from contextlib import suppress

import msgspec

from pilothouse.agent.runtime.docker.answers import (
    ContainerAnswer,
    IdAnswer,
    ImageAnswer,
    ListedAnswer,
    WaitAnswer,
    decode,
    exit_of,
    foreign_of,
    label_problem,
    state_of,
)
from pilothouse.agent.runtime.docker.body import ImageFacts, create_body, endpoint
from pilothouse.agent.runtime.docker.client import TIMEOUT_SECONDS, Client
from pilothouse.agent.runtime.docker.failures import MissingError, TakenError
from pilothouse.agent.runtime.docker.part import Part
from pilothouse.agent.runtime.interface import ContainerPlan, ContainerState, ExitStatus
from pilothouse.clock import Clock
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.ids import Ids
from pilothouse.model.container import Ulimit
from pilothouse.model.names import PREFIX, task_id_of
from pilothouse.model.wire import ForeignContainer

STARTS_PER_CORE = 2
MOST_OPEN = 1_048_576
INSPECTS_AT_ONCE = 16
REMOVE_ATTEMPTS = 6
_NOTHING = type(None)


class Containers(Part):
    """Create, start, wait, stop, remove and look at containers."""

    def __init__(self, client: Client, clock: Clock, ids: Ids) -> None:
        super().__init__(client, clock, ids)
        width = STARTS_PER_CORE * (os.cpu_count() or 1)
        self._creating = asyncio.Semaphore(width)
        self._starting = asyncio.Semaphore(width)
        self._images: dict[str, ImageFacts] = {}

    async def prepare(self, plan: ContainerPlan) -> str:
        dialect = await self._client.dialect()
        if dialect.podman:
            plan = _with_limits(plan)
        body = create_body(plan, dialect, await self._facts(plan.image))
        what = f"create the container {plan.name}"
        async with self._creating:
            try:
                made = await self._client.call(
                    "POST", "/containers/create", what, IdAnswer, params={"name": plan.name}, body=body
                )
            except TemporaryError as error:
                # A name that is taken is 409 with Docker and 500 with Podman, as is all that Podman will never take.
                found = await self._look(plan.name)
                if found is not None:
                    await self._connect(plan, found)
                    return found.id
                if dialect.podman:
                    raise PermanentError(str(error)) from error
                raise
            if not dialect.all_networks_at_create and len(plan.endpoints) > 1:
                await self._connect(plan, None)
            return made.id

    async def start(self, name: str) -> None:
        what = f"start the container {name}"
        async with self._starting:
            found = await self._look(name)
            if found is None:
                raise PermanentError(f"cannot {what}: there is none of that name")
            if state_of(found).phase != "created":
                return
            try:
                await self._client.call("POST", f"/containers/{name}/start", what, _NOTHING)
            except TakenError:
                raise
            except TemporaryError as error:
                # What the engine could not start now is not tried again in place: a new task comes after a back-off.
                raise PermanentError(str(error)) from error

    async def wait(self, name: str) -> ExitStatus:
        what = f"wait for the container {name}"
        found = await self._look(name)
        if found is None:
            raise PermanentError(f"cannot {what}: there is none of that name")
        waits = {"condition": "next-exit" if state_of(found).phase == "created" else "not-running"}
        if (await self._client.dialect()).podman:
            waits["interval"] = "500ms"
        async with self._client.stream("POST", f"/containers/{name}/wait", what, params=waits) as answer:
            # The engine answers once it waits; an end that came before that is seen now.
            found = await self._look(name)
            if found is not None and (ended := state_of(found).exit) is not None:
                return ended
            code = decode(await answer.read(), WaitAnswer).status_code
        found = await self._look(name)
        return ExitStatus(code=code) if found is None else exit_of(found.state)

    async def stop(self, name: str, grace_seconds: float, signal: str = "") -> None:
        what = f"stop the container {name}"
        if not await self._runs(name):
            return
        with suppress(MissingError):
            if signal:
                await self._signal(name, signal)
                if await self._ended_within(name, grace_seconds):
                    return
                await self._signal(name, "KILL")
                await self.wait(name)
                return
            await self._client.call(
                "POST",
                f"/containers/{name}/stop",
                what,
                _NOTHING,
                params={"t": str(math.ceil(grace_seconds))},
                timeout_seconds=grace_seconds + TIMEOUT_SECONDS,
            )

    async def remove(self, name: str) -> None:
        what = f"remove the container {name}"
        dialect = await self._client.dialect()
        for attempt in range(REMOVE_ATTEMPTS):
            try:
                if dialect.podman and await self._runs(name):  # its forced removal would first ask it to stop, and wait
                    await self._signal(name, "KILL")
                await self._client.call(
                    "DELETE", f"/containers/{name}", what, _NOTHING, params={"force": "true", "v": "true"}
                )
            except MissingError:
                return
            except TemporaryError as error:
                # Somebody removes it already, or the low-level runtime has not let go of it yet.
                if attempt == REMOVE_ATTEMPTS - 1:
                    raise TemporaryError(str(error), delay_seconds=1.0) from error
                await self._clock.sleep(0.05 * 2**attempt)
            else:
                return

    async def status(self) -> tuple[ContainerState, ...]:
        listed = await self._list({"name": [f"{PREFIX}\\."]})
        ours = sorted(each.name for each in listed if task_id_of(each.name))
        return tuple(state_of(found) for found in await self._look_at_all(ours))

    async def inspect(self, name: str) -> ContainerState | None:
        found = await self._look(name)
        return state_of(found) if found is not None and found.name.removeprefix("/") == name else None

    async def list_foreign(self) -> tuple[ForeignContainer, ...]:
        foreign = [each.id for each in await self._list({}) if not task_id_of(each.name)]
        return tuple(foreign_of(found) for found in await self._look_at_all(foreign))

    async def rename(self, container_id: str, name: str) -> None:
        try:
            await self._client.call(
                "POST",
                f"/containers/{container_id}/rename",
                f"rename the container {container_id[:12]} to {name}",
                _NOTHING,
                params={"name": name},
            )
        except (TemporaryError, PermanentError) as error:
            found = await self._look(name)
            if found is None or found.id != container_id:
                raise PermanentError(str(error)) from error

    async def _facts(self, image: str) -> ImageFacts:
        """Return what the body needs to know of an image, refusing one whose labels must not run here."""
        if image in self._images:
            return self._images[image]
        found = await self._client.call(
            "GET", f"/images/{image}/json", f"find the image {image} on this node", ImageAnswer
        )
        problem = label_problem((found.config.labels if found.config else None) or {})
        if problem:
            raise PermanentError(f"the image {image} cannot run here: {problem}")
        facts = ImageFacts(entrypoint=tuple((found.config.entrypoint if found.config else None) or ()))
        if image.startswith("sha256:"):  # any other name may mean another image tomorrow
            self._images[image] = facts
        return facts

    async def _connect(self, plan: ContainerPlan, found: ContainerAnswer | None) -> None:
        """Connect a container that does not run yet to the networks it is not on."""
        has = set((found.network_settings.networks or {}) if found else {e.network for e in plan.endpoints[:1]})
        if found is not None and state_of(found).phase != "created":
            return
        dialect = await self._client.dialect()
        for each in plan.endpoints:
            if each.network in has:
                continue
            await self._client.call(
                "POST",
                f"/networks/{each.network}/connect",
                f"connect the container {plan.name} to the network {each.network}",
                _NOTHING,
                body={"Container": plan.name, "EndpointConfig": endpoint(each, dialect)},
            )

    async def _signal(self, name: str, signal: str) -> None:
        """Send a signal; a container that does not run any more takes none, and that is fine."""
        what = f"signal the container {name}"
        try:
            await self._client.call("POST", f"/containers/{name}/kill", what, _NOTHING, params={"signal": signal})
        except TemporaryError:
            if await self._runs(name):
                raise

    async def _ended_within(self, name: str, seconds: float) -> bool:
        async with asyncio.TaskGroup() as group:
            waits = {group.create_task(self.wait(name)), group.create_task(self._clock.sleep(seconds))}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for waiting in waits:
                waiting.cancel()
        return not await self._runs(name)

    async def _list(self, filters: dict[str, list[str]]) -> list[ListedAnswer]:
        return await self._client.call(
            "GET",
            "/containers/json",
            "list the containers",
            list[ListedAnswer],
            params={"all": "true", "filters": json.dumps(filters)},
        )

    async def _look_at_all(self, names: list[str]) -> list[ContainerAnswer]:
        """Inspect many; those that went meanwhile are left out."""
        width = asyncio.Semaphore(INSPECTS_AT_ONCE)

        async def look(name: str) -> ContainerAnswer | None:
            async with width:
                return await self._look(name)

        async with asyncio.TaskGroup() as group:
            looks = [group.create_task(look(name)) for name in names]
        return [found for each in looks if (found := each.result()) is not None]


def _with_limits(plan: ContainerPlan) -> ContainerPlan:
    """Return *plan* with limits on files and processes that this host can grant.

    Podman adds its own otherwise, and where the host's hard limit is lower no container starts. Its own limit of
    processes is never more than the number of process ids there are.
    """
    limits = dict(plan.spec.ulimits)
    ids = int(pathlib.Path("/proc/sys/kernel/pid_max").read_text())
    for name, kind, cap in (("nofile", resource.RLIMIT_NOFILE, MOST_OPEN), ("nproc", resource.RLIMIT_NPROC, ids)):
        hard = resource.getrlimit(kind)[1]
        most = cap if hard == resource.RLIM_INFINITY else min(hard, cap)
        limits.setdefault(name, Ulimit(soft=most, hard=most))
    return msgspec.structs.replace(plan, spec=msgspec.structs.replace(plan.spec, ulimits=limits))
