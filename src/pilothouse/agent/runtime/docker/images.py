"""Images: whether they are here, and getting them here, with progress and back-off."""

import asyncio
import datetime
import os
import pathlib
from collections.abc import AsyncIterator

import msgspec

from pilothouse.agent.runtime.docker.answers import ImageAnswer, digest_of, repository_of, seconds_of
from pilothouse.agent.runtime.docker.client import Client, lines_of
from pilothouse.agent.runtime.docker.failures import MissingError, pull_is_hopeless
from pilothouse.agent.runtime.docker.logins import header_for, login_file
from pilothouse.agent.runtime.docker.part import Part
from pilothouse.backoff import delay_seconds
from pilothouse.clock import Clock
from pilothouse.errors import DriverError, RuntimeUnavailableError
from pilothouse.ids import Ids
from pilothouse.model.wire import ImageProgress

PULL_ATTEMPTS = 5
TELL_EVERY_SECONDS = 0.25
_DAY = datetime.timedelta(days=1).total_seconds()
_EVERY = {"daily": _DAY, "weekly": 7 * _DAY}
_UNITS = {"w": 7 * _DAY, "d": _DAY, "h": 3600.0, "m": 60.0, "s": 1.0}


class _Detail(msgspec.Struct, frozen=True):
    current: int = 0
    total: int = 0
    message: str = ""


class _Line(msgspec.Struct, frozen=True, rename={"progress": "progressDetail", "problem": "errorDetail"}):
    id: str = ""
    status: str = ""
    error: str = ""
    progress: _Detail | None = None
    problem: _Detail | None = None


class PullFailed(Exception):  # noqa: N818 - never leaves this module
    """One attempt failed; *hopeless* says whether another makes sense."""

    def __init__(self, message: str, *, hopeless: bool) -> None:
        super().__init__(message)
        self.hopeless = hopeless


class Images(Part):
    """Find and pull images; remembers when it last pulled each, for policies that name an age."""

    def __init__(self, client: Client, clock: Clock, ids: Ids) -> None:
        super().__init__(client, clock, ids)
        self._pulled_at: dict[str, float] = {}

    async def find_image(self, ref: str) -> tuple[str, str] | None:
        found = await self._image(ref)
        return None if found is None else (_id(found), digest_of(ref, found.repo_digests or []))

    async def ensure_image(self, ref: str, policy: str, platform: str = "") -> AsyncIterator[ImageProgress]:
        found = await self._image(ref)
        if not self._pull_wanted(ref, policy, found):
            if found is None:
                yield ImageProgress(ref=ref, phase="failed", message=_absent(ref, policy))
                return
            yield ImageProgress(ref=ref, phase="present")
        else:
            async for step in self._pull_until_done(ref, platform):
                yield step
                if step.phase == "failed":
                    return
            self._pulled_at[ref] = self._clock.now()
            found = await self._image(ref)
        if found is None:
            yield ImageProgress(ref=ref, phase="failed", message=f"{ref} was pulled and is gone again; try once more")
            return
        digest = digest_of(ref, found.repo_digests or [])
        platform = f"{found.os}/{found.architecture}" if found.os and found.architecture else ""
        yield ImageProgress(ref=ref, phase="resolved", id=_id(found), digest=digest, platform=platform)

    def _pull_wanted(self, ref: str, policy: str, found: ImageAnswer | None) -> bool:
        if policy in {"never", "build"}:
            return False
        if policy == "always" or found is None:
            return True
        age = every_seconds(policy)
        # The engine knows when an image was tagged, not when it was pulled; what is not known counts as long ago.
        tagged = seconds_of(found.metadata.last_tag_time) if found.metadata else None
        pulled = self._pulled_at.get(ref, tagged)
        return age is not None and (pulled is None or self._clock.now() - pulled > age)

    async def _pull_until_done(self, ref: str, platform: str) -> AsyncIterator[ImageProgress]:
        for failures in range(1, PULL_ATTEMPTS + 1):
            try:
                async for step in self._pull(ref, platform):
                    yield step
            except PullFailed as failed:
                if failed.hopeless or failures == PULL_ATTEMPTS:
                    yield ImageProgress(ref=ref, phase="failed", message=f"{failed}; {_CURE}")
                    return
                wait = max(1.0, delay_seconds(failures + 1, fraction=self._ids.fraction()))
                message = f"{failed}; attempt {failures + 1} of {PULL_ATTEMPTS} in {wait:.0f} s"
                yield ImageProgress(ref=ref, phase="waiting", message=message)
                await self._clock.sleep(wait)
            else:
                return

    async def _pull(self, ref: str, platform: str) -> AsyncIterator[ImageProgress]:
        """Pull once; yield progress at most every `TELL_EVERY_SECONDS`."""
        repository, tag = repository_of(ref)
        params = {"fromImage": repository, "tag": tag} | ({"platform": platform} if platform else {})
        yield ImageProgress(ref=ref, phase="pulling")
        headers = await asyncio.to_thread(_login, ref)
        layers: dict[str, _Detail] = {}
        told = self._clock.monotonic()
        try:
            async with self._client.stream(
                "POST", "/images/create", f"pull {ref}", params=params, headers=headers
            ) as answer:
                async for raw in lines_of(answer):
                    line = _line(raw)
                    if problem := line.error or (line.problem.message if line.problem else ""):
                        raise PullFailed(f"cannot pull {ref}: {problem}", hopeless=pull_is_hopeless(200, problem))
                    if line.progress and line.progress.total and line.status == "Downloading":
                        layers[line.id] = line.progress
                    if self._clock.monotonic() - told >= TELL_EVERY_SECONDS:
                        told = self._clock.monotonic()
                        yield _progress(ref, layers, line.status)
        except DriverError as error:
            hopeless = not error.retryable or pull_is_hopeless(500, str(error))
            raise PullFailed(str(error), hopeless=hopeless) from error

    async def _image(self, ref: str) -> ImageAnswer | None:
        try:
            return await self._client.call("GET", f"/images/{ref}/json", f"find the image {ref}", ImageAnswer)
        except MissingError:
            return None


def every_seconds(policy: str) -> float | None:
    """Return the age at which a pull policy ("daily", "weekly", "every_12h") wants an image again, or None."""
    if policy in _EVERY:
        return _EVERY[policy]
    if not policy.startswith("every_"):
        return None
    total, number = 0.0, ""
    for char in policy.removeprefix("every_"):
        if char.isdigit():
            number += char
        elif char in _UNITS and number:
            total, number = total + int(number) * _UNITS[char], ""
        else:
            return None
    return total if total and not number else None


_CURE = "check the name, the registry and its login on the node, or load the image there and set pull_policy: never"


def _absent(ref: str, policy: str) -> str:
    how = "build it there" if policy == "build" else "load or build it there, or use another pull_policy"
    return f"there is no image {ref} on this node and pull_policy {policy} does not fetch it: {how}"


def _login(ref: str) -> dict[str, str]:
    try:
        return header_for(ref, login_file(os.environ, pathlib.Path.home()).read_bytes())
    except OSError:  # nobody ever logged in here
        return {}


def _id(found: ImageAnswer) -> str:
    return found.id if found.id.startswith("sha256:") else f"sha256:{found.id}"


def _line(raw: bytes) -> _Line:
    try:
        return msgspec.json.decode(raw, type=_Line)
    except msgspec.DecodeError as error:
        raise RuntimeUnavailableError(f"the engine's progress cannot be read ({error}): {raw[:100]!r}") from error


def _progress(ref: str, layers: dict[str, _Detail], status: str) -> ImageProgress:
    return ImageProgress(
        ref=ref,
        phase="pulling",
        done_bytes=sum(layer.current for layer in layers.values()),
        total_bytes=sum(layer.total for layer in layers.values()),
        message=status,
    )
