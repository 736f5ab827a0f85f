"""Ask one probe's question once: a request, a connection or a command, with a time limit. Nothing is decided here."""

import asyncio
from collections.abc import Awaitable, Callable

from pilothouse.agent.probes.grpc import ask_health
from pilothouse.errors import PilothouseError
from pilothouse.model.spec import Probe, ProbeKind

Exec = Callable[[tuple[str, ...], float], Awaitable[tuple[int, str]]]
_MESSAGE_LENGTH = 200
_MAX_LINE = 8192


async def ask(probe: Probe, address: str, run: Exec) -> str:
    """Return "" if the probe passes, else one sentence about what failed.

    Args:
        probe: The question.
        address: Where the container answers; "" if it has no address.
        run: Runs a command in the container within a time and returns exit code and output.
    """
    if probe.kind is ProbeKind.EXEC:
        return await _exec(probe, run)
    where = f"{address}:{probe.port}"
    if not address:
        return f"the container has no address on any network, so port {probe.port} cannot be asked"
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            return await _connect(probe, address)
    except TimeoutError:
        return f"{where} did not answer within {probe.timeout_seconds:g} s"
    except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
        return f"{where}: {str(error) or type(error).__name__}"[:_MESSAGE_LENGTH]


async def _connect(probe: Probe, address: str) -> str:
    if probe.kind is ProbeKind.HTTP:
        return await _http(probe, address)
    if probe.kind is ProbeKind.GRPC:
        return await ask_health(address, probe.port, probe.service)
    _, writer = await asyncio.open_connection(address, probe.port)
    writer.close()
    return ""


async def _http(probe: Probe, address: str) -> str:
    reader, writer = await asyncio.open_connection(address, probe.port, limit=_MAX_LINE)
    try:
        headers = {
            "Host": f"{address}:{probe.port}",
            "User-Agent": "pilothouse-probe",
            "Accept": "*/*",
            **probe.headers,
        }
        lines = [f"GET {probe.path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items()), "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode())
        await writer.drain()
        status = (await reader.readuntil(b"\r\n")).split(b" ")
    finally:
        writer.close()
    if len(status) < 2 or not status[0].startswith(b"HTTP/") or not status[1].strip().isdigit():
        return f"port {probe.port} does not speak HTTP"
    code = int(status[1])
    return "" if 200 <= code < 400 else f"GET {probe.path} on port {probe.port} answered {code}"


async def _exec(probe: Probe, run: Exec) -> str:
    try:
        code, output = await run(probe.command, probe.timeout_seconds)
    except PilothouseError as error:
        return str(error)[:_MESSAGE_LENGTH]
    said = f": {output.strip()}" if output.strip() else ""
    return "" if code == 0 else f"{probe.command[0]} ended with exit code {code}{said}"[:_MESSAGE_LENGTH]
