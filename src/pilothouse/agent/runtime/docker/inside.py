"""What goes on inside a container: its logs, and commands run in it."""

import asyncio
import os
import pathlib
import signal as signals
from collections.abc import AsyncIterator
from contextlib import suppress

from pilothouse.agent.runtime.docker.answers import ExecAnswer, IdAnswer
from pilothouse.agent.runtime.docker.failures import MissingError
from pilothouse.agent.runtime.docker.part import Part
from pilothouse.agent.runtime.docker.streams import Demultiplexer, Lines, Raw
from pilothouse.errors import PermanentError, TemporaryError
from pilothouse.model.wire import LogLine, LogQuery

EXEC_OUTPUT = 4096
# Exit codes of a shell and of the low-level runtime for "cannot run it" and "there is no such command".
_NOT_RUN = {126, 127}
# How the two engines begin what they write where the command's output would have been.
_RUNTIME_SAYS = ("OCI runtime exec failed", "Error: runc: exec failed", "Error: crun: ")


class Logs(Part):
    """Read what containers wrote."""

    async def logs(self, name: str, query: LogQuery) -> AsyncIterator[LogLine]:
        what = f"read the logs of {name}"
        found = await self._look(name)
        if found is None:
            return
        if query.tail == 0 and not query.follow:
            return
        pieces: Demultiplexer | Raw = Raw() if found.config.tty else Demultiplexer()
        lines = Lines(query.task_id, framed=not found.config.tty)
        try:
            async with self._client.stream("GET", f"/containers/{name}/logs", what, params=_params(query)) as answer:
                async for chunk in answer.content.iter_any():
                    for stream, piece in pieces.feed(chunk):
                        for line in lines.feed(stream, piece):
                            yield line
        except MissingError:
            return
        for line in lines.rest():
            yield line


class Exec(Part):
    """Run commands in containers."""

    async def exec(
        self,
        name: str,
        command: tuple[str, ...],
        *,
        timeout_seconds: float,
        user: str = "",
        working_dir: str = "",
        environment: dict[str, str] | None = None,
        privileged: bool = False,
    ) -> tuple[int, str]:
        what = f"run {command[0] if command else 'nothing'!r} in {name}"
        body = {
            "AttachStdout": True,
            "AttachStderr": True,
            "AttachStdin": False,
            "Tty": False,
            "Cmd": list(command),
            "User": user,
            "WorkingDir": working_dir,
            "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
            "Privileged": privileged,
        }
        made: list[str] = []
        try:
            async with asyncio.timeout(timeout_seconds):
                answer = await self._client.call("POST", f"/containers/{name}/exec", what, IdAnswer, body=body)
                made.append(answer.id)
                output = await self._output(answer.id, what)
                ended = await self._client.call("GET", f"/exec/{answer.id}/json", what, ExecAnswer)
        except TimeoutError as error:
            for exec_id in made:
                await self._kill(exec_id, what)
            raise TemporaryError(f"cannot {what}: it did not end in {timeout_seconds:g} s") from error
        except TemporaryError as error:
            # Of a container that does not run Docker says 409, Podman 500; then no repetition helps.
            if await self._runs(name):
                raise
            raise PermanentError(str(error)) from error
        code = -1 if ended.exit_code is None else ended.exit_code
        if code in _NOT_RUN and output.lstrip().startswith(_RUNTIME_SAYS):
            raise PermanentError(f"cannot {what}: {output.strip()[:500]}")
        return code, output

    async def _output(self, exec_id: str, what: str) -> str:
        """Start the command and return the beginning of what it writes, once it has ended."""
        pieces, kept = Demultiplexer(), bytearray()
        body = {"Detach": False, "Tty": False}
        async with self._client.stream("POST", f"/exec/{exec_id}/start", what, body=body) as answer:
            async for chunk in answer.content.iter_any():
                for _, piece in pieces.feed(chunk):
                    kept += piece[: 4 * EXEC_OUTPUT - len(kept)]
        return kept.decode(errors="replace")[:EXEC_OUTPUT]

    async def _kill(self, exec_id: str, what: str) -> None:
        """Kill a command that took too long; the engine has no call for that, so the kernel is asked."""
        with suppress(MissingError):
            found = await self._client.call("GET", f"/exec/{exec_id}/json", what, ExecAnswer)
            if found.running and found.pid > 1 and found.container_id:
                await asyncio.to_thread(_kill_process, found.pid, found.container_id)


def _kill_process(pid: int, container_id: str) -> None:
    """Kill *pid* if it is a process of the container; its number may have been given to another since."""
    with suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            if container_id in pathlib.Path(f"/proc/{pid}/cgroup").read_text():
                signals.pidfd_send_signal(descriptor, signals.SIGKILL)
        finally:
            os.close(descriptor)


def _params(query: LogQuery) -> dict[str, str]:
    params = {"stdout": "true", "stderr": "true", "timestamps": "true", "follow": str(query.follow).lower()}
    if query.since is not None:
        params["since"] = f"{query.since:.9f}"
    if query.until is not None:
        params["until"] = f"{query.until:.9f}"
    if query.tail is not None:
        params["tail"] = str(query.tail)
    return params
