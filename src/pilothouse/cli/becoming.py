"""How a machine that joined with a manager's token becomes one: by itself, beside its agent, once it is approved.

Its agent fetches a manager's certificate then, and that opens the other managers' doors. The machine gets the key of
the secrets and a member of the store that follows; with its vote it is a manager. Every step can be repeated.
"""

import asyncio
import os
import pathlib
from collections.abc import Callable, Mapping

import msgspec

from pilothouse.cli import membership, remote, share
from pilothouse.cli.moving import place_of, settings_of
from pilothouse.cli.places import Places
from pilothouse.clock import Clock
from pilothouse.errors import ConflictError, PilothouseError, ServerUnavailableError
from pilothouse.link.credentials import Credentials
from pilothouse.link.tls import client_context
from pilothouse.log import event
from pilothouse.model.addresses import api_address
from pilothouse.model.cluster import Role
from pilothouse.model.cluster_api import StoreAdmission
from pilothouse.model.identity import identity_of
from pilothouse.store.directory import FILE, KEY, private_file, sync_directory
from pilothouse.store.etcd.member import Member, find_binary

_LOOK_SECONDS = 1.0
_AGAIN_SECONDS = 3.0


class Becoming:
    """Of one machine."""

    def __init__(
        self, places: Places, environment: Mapping[str, str], clock: Clock, became: Callable[[], None]
    ) -> None:
        """Do nothing yet; *became* is called once a server can run here."""
        self._data = pathlib.Path(places.data)
        self._told = pathlib.Path(places.run, share.PROGRESS)
        self._clock = clock
        self._became = became
        self._member = Member(self._data / share.MEMBER, find_binary(environment), clock)
        self._said = ""

    async def run(self) -> None:
        """Become a manager, however long that takes; returns never."""
        while True:
            try:
                wait = await self._step()
            except PilothouseError as error:
                self._say(f"tries again every {_AGAIN_SECONDS:g} s, because {error}")
                wait = _AGAIN_SECONDS
            if wait is None:
                break
            await self._clock.sleep(wait)
        self._told.unlink(missing_ok=True)
        event("info", "manager.became")
        self._became()
        await asyncio.Event().wait()

    async def _step(self) -> float | None:
        """Come further; return when to look again, None if this machine is a manager.

        Raises:
            ConflictError: The state is not shared yet, or this machine has one of its own.
            ServerUnavailableError: No manager answers.
            StoreUnavailableError: etcd is not installed, or does not start.
        """
        known = membership.load(self._data)
        identity = identity_of(Credentials(self._data).held().names)
        if known is None or identity is None or identity.role is not Role.MANAGER:
            name = "" if known is None else known.node_id
            self._say(f"waits until somebody on a manager approves it: pilothouse node approve {name}")
            return _LOOK_SECONDS
        if (self._data / FILE).exists():
            raise ConflictError(f"{self._data} holds a state of its own ({FILE}); move that away if it is not needed")
        answer = await asyncio.to_thread(_ask, self._data, known)
        _keep_key(self._data, answer.key)
        await self._have_member(answer)
        if not answer.promoted:
            self._say("its member of the store follows the others until it has caught up and gets its vote")
            return _LOOK_SECONDS
        (self._member.directory / share.JOINING).unlink(missing_ok=True)
        sync_directory(self._member.directory)
        return None

    async def _have_member(self, answer: StoreAdmission) -> None:
        """Have this machine's member run, as the one that was let in."""
        settings = self._member.settings
        if settings is not None and settings.id not in {"", answer.member}:
            # Its member was taken out meanwhile, and another let in: what is here belongs to nobody.
            event("warning", "store.member_replaced", was=settings.id, now=answer.member)
            await self._member.remove()
            settings = None
        if settings is None:
            self._member.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_file(self._member.directory / share.JOINING)
            made = settings_of(place_of(self._data, ""), answer.cluster)
            others = tuple(url for url in answer.clients if url != made.url(made.client))
            self._member.configure(msgspec.structs.replace(made, others=others, id=answer.member))
        await self._member.ensure()

    def _say(self, text: str) -> None:
        """Tell how far this machine is, to whoever asks it (`pilothouse agent status`)."""
        if text != self._said:
            self._said = text
            event("info", "manager.becoming", message=text)
            part = self._told.with_suffix(".part")
            part.write_text(text)
            part.rename(self._told)


def _ask(data: pathlib.Path, known: membership.Membership) -> StoreAdmission:
    """Ask one manager after the other.

    Raises:
        PilothouseError: What the last of them answered; ServerUnavailableError if none did.
    """
    context = client_context(Credentials(data))
    answer: PilothouseError = ServerUnavailableError("no manager is known")
    for sessions in known.managers:
        try:
            return remote.ask(api_address(sessions), context, "POST", "/v1/store/members", StoreAdmission)
        except ServerUnavailableError as error:
            answer = answer if not isinstance(answer, ServerUnavailableError) else error
        except PilothouseError as error:
            answer = error
    raise answer


def _keep_key(data: pathlib.Path, key: bytes) -> None:
    part = private_file(data / f"{KEY}.part")
    descriptor = os.open(part, os.O_WRONLY)
    try:
        os.write(descriptor, key)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    part.rename(data / KEY)
    sync_directory(data)
