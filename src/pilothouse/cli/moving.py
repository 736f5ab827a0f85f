"""Moves the state between this machine's file and a member of its own, with no server running; restores into either.

What decides where the state is, is the presence of the file (`cli.backend`). So a move into a member ends with taking
the file away, and a move out of it with putting a file there: one rename each, after everything was read back and
compared. Interrupted before that, nothing has changed, and the move is repeated from the beginning.
"""

import asyncio
import pathlib
import shutil
from collections.abc import Mapping

from pilothouse.cli import membership
from pilothouse.cli.backend import MEMBER, REPLACED_MEMBER, Moved, uses_members
from pilothouse.clock import Clock, SystemClock
from pilothouse.errors import ConflictError, InvalidRequestError, StoreUnavailableError
from pilothouse.ids import Ids, SystemIds
from pilothouse.link.credentials import AUTHORITIES, CERTIFICATE, DIRECTORY
from pilothouse.link.credentials import KEY as NODE_KEY
from pilothouse.model.addresses import member_addresses
from pilothouse.model.base import Value
from pilothouse.store import backup
from pilothouse.store.copy import Whole, read_directory, write_file
from pilothouse.store.database import Database
from pilothouse.store.directory import FILE, KEY, LOCK, REPLACED, REPLACED_KEY, sync_directory
from pilothouse.store.etcd.install import read_whole, say_moved, write_whole
from pilothouse.store.etcd.layout import Layout
from pilothouse.store.etcd.member import Member, Settings, client_of, find_binary

MIGRATED = "store.db.migrated"
_MOVING = "store.db.moving"
_RESTORING = ".restoring"
HERE = "the file store.db"
_LOOPBACK = "127.0.0.1"
_MANAGER = "manager"


class Place(Value, frozen=True, kw_only=True):
    """Where this machine's member is reached, and how it proves who it is.

    Attributes:
        name: The node's id.
        peer, client: "HOST:PORT".
        cluster: The cluster's id.
        pki: The directory of this machine's key and certificates, or "".
    """

    name: str
    peer: str
    client: str
    cluster: str = "pilothouse"
    pki: str = ""


class Mover:
    """Of one data directory."""

    def __init__(self, data: pathlib.Path, environment: Mapping[str, str], clock: Clock, ids: Ids) -> None:
        self._data = data
        self._binary = find_binary(environment)
        self._clock = clock
        self._ids = ids
        self._layout = Layout()

    async def to_members(self, place: Place) -> Moved:
        """Move the file's state into a new member.

        Raises:
            ConflictError: The state is there already.
            StoreUnavailableError: A server uses the file, or etcd does not start.
            StoreCorruptError: The file is damaged; nothing was changed.
        """
        if uses_members(self._data):
            raise ConflictError(f"the state of {self._data} is in etcd already")
        whole, database = await asyncio.to_thread(read_directory, self._data)
        try:
            await self._install(whole, place)
        except BaseException:
            database.close(clean=True)
            raise
        self._take_away(database)
        return _moved(whole)

    async def to_file(self) -> Moved:
        """Move the members' state into a file of this machine's own; the other managers must be stopped.

        Raises:
            ConflictError: The state is in the file already, or another manager wrote meanwhile.
            StoreUnavailableError: Most members do not answer.
        """
        if not uses_members(self._data):
            raise ConflictError(f"the state of {self._data} is in {HERE} already")
        member = Member(self._data / MEMBER, self._binary, self._clock)
        await member.ensure()
        client = client_of(member, self._clock)
        try:
            whole, place = await read_whole(client, self._layout)
            moving = self._data / _MOVING
            await asyncio.to_thread(self._write_and_compare, moving, whole)
            # From here on no manager writes there any more; until the rename none writes here either.
            await say_moved(client, self._layout, place, f"{HERE} of {member.directory.parent}")
        finally:
            await client.close()
        moving.rename(self._data / FILE)
        sync_directory(self._data)
        await member.stop()
        return _moved(whole)

    async def restore(self, file: pathlib.Path, place: Place, *, overwrite: bool) -> Moved:
        """Make a new member hold what *file* holds; it is the only one of its cluster.

        What was there is kept beside it under another name.

        Raises:
            InvalidRequestError: *file* is no backup, or there is a state already and *overwrite* is False.
            StoreCorruptError: *file* is damaged; nothing was changed.
        """
        if not overwrite and (uses_members(self._data) or (self._data / FILE).exists()):
            raise InvalidRequestError(
                f"{self._data} holds a state already: choose another directory with --data, or replace it with --force"
            )
        unpacked = self._data / _RESTORING
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            await asyncio.to_thread(backup.restore, file, unpacked)
            whole, database = await asyncio.to_thread(read_directory, unpacked)
            database.close(clean=True)
            await self._install(whole, place)
            self._take_key(unpacked)
            for suffix in ("-wal", ""):
                if (self._data / (FILE + suffix)).exists():
                    (self._data / (FILE + suffix)).rename(self._data / (REPLACED + suffix))
            sync_directory(self._data)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
        return _moved(whole)

    async def _install(self, whole: Whole, place: Place) -> None:
        """Have a new member that holds *whole*; an older one is stopped and kept beside it."""
        here, aside = self._data / MEMBER, self._data / REPLACED_MEMBER
        await Member(here, self._binary, self._clock).stop()
        replaced = here.exists()
        if replaced:
            shutil.rmtree(aside, ignore_errors=True)
            here.rename(aside)
        member = Member(here, self._binary, self._clock)
        try:
            member.configure(settings_of(place))
            await self._fill(member, whole)
        except BaseException:
            await member.remove()
            if replaced:
                aside.rename(here)
            raise

    async def _fill(self, member: Member, whole: Whole) -> None:
        await member.ensure()
        client = client_of(member, self._clock)
        try:
            await write_whole(client, self._layout, whole, self._clock, self._ids)
        except StoreUnavailableError as error:
            raise type(error)(f"{error}. etcd's last words: {member.last_words()}") from error
        finally:
            await client.close()

    def _take_away(self, database: Database) -> None:
        database.close(clean=True)
        for suffix in ("-wal", "-shm"):
            (self._data / (FILE + suffix)).unlink(missing_ok=True)
        (self._data / FILE).rename(self._data / MIGRATED)
        sync_directory(self._data)

    def _write_and_compare(self, path: pathlib.Path, whole: Whole) -> None:
        """Write *whole* into a store file, and compare what is read of it, object by object and commit by commit."""
        proof = self._data / f"{_MOVING}.d"
        shutil.rmtree(proof, ignore_errors=True)
        proof.mkdir(mode=0o700)
        try:
            write_file(proof / FILE, whole)
            found, database = read_directory(proof)
            database.close(clean=True)
            if sorted(found.objects, key=_name) != sorted(whole.objects, key=_name) or found.commits != whole.commits:
                raise ConflictError("what was written into the file is not what was read from etcd; repeat it")
            (proof / LOCK).unlink()
            (proof / FILE).rename(path)
            sync_directory(path.parent)
        finally:
            shutil.rmtree(proof, ignore_errors=True)

    def _take_key(self, unpacked: pathlib.Path) -> None:
        if (unpacked / KEY).exists():
            if (self._data / KEY).exists():
                (self._data / KEY).rename(self._data / REPLACED_KEY)
            (unpacked / KEY).rename(self._data / KEY)


def to_members(data: pathlib.Path, environment: Mapping[str, str], advertise: str) -> Moved:
    """As `Mover.to_members`, in an event loop of its own."""
    return asyncio.run(_mover(data, environment).to_members(place_of(data, advertise)))


def to_file(data: pathlib.Path, environment: Mapping[str, str]) -> Moved:
    """As `Mover.to_file`, in an event loop of its own."""
    return asyncio.run(_mover(data, environment).to_file())


def restore(file: pathlib.Path, data: pathlib.Path, environment: Mapping[str, str], *, overwrite: bool) -> Moved:
    """As `Mover.restore`, in an event loop of its own."""
    return asyncio.run(_mover(data, environment).restore(file, place_of(data, ""), overwrite=overwrite))


def place_of(data: pathlib.Path, advertise: str) -> Place:
    """Return where this machine's member will be: by *advertise*, else as it joined, else on the loopback device.

    Raises:
        InvalidRequestError: *advertise* is not HOST or HOST:PORT.
    """
    known = membership.load(data)
    advertised = advertise or (known.advertise if known is not None else "") or _LOOPBACK
    peer, client = member_addresses(advertised)
    return Place(
        name=known.node_id if known is not None else _MANAGER,
        peer=peer,
        client=client,
        cluster=known.cluster if known is not None else "pilothouse",
        pki=str(data / DIRECTORY) if (data / DIRECTORY).exists() else "",
    )


def _mover(data: pathlib.Path, environment: Mapping[str, str]) -> Mover:
    return Mover(data, environment, SystemClock(), SystemIds())


def settings_of(place: Place, others: Mapping[str, str] | None = None) -> Settings:
    """Return the configuration of a member at *place*; with *others*, it joins these, by name."""
    files = [str(pathlib.Path(place.pki, name)) for name in (AUTHORITIES, CERTIFICATE, NODE_KEY)]
    authorities, certificate, key = files if place.pki else ("", "", "")
    return Settings(
        name=place.name,
        peer=place.peer,
        client=place.client,
        cluster={**(others or {}), place.name: place.peer},
        joins=others is not None,
        cluster_name=place.cluster,
        authorities=authorities,
        certificate=certificate,
        key=key,
    )


def _name(obj: object) -> tuple[str, str]:
    return type(obj).__name__, getattr(obj, "id", "")


def _moved(whole: Whole) -> Moved:
    return Moved(revision=whole.revision, objects=len(whole.objects), commits=len(whole.commits))
