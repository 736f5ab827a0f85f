"""A strict HTTP load: counts every request that did not get a whole answer with status 200. Not a bench itself.

    bench/load.py PORT RATE KEEP NEW SECONDS-FILE

KEEP connections are kept alive and asked over and over; NEW callers make a connection for each request. Together they
ask at most RATE times a second, until the file SECONDS-FILE is gone. Prints one JSON object. A connection that the
server closed between two requests is opened again; a request that was sent and got no whole answer has failed, and is
not repeated.
"""

import asyncio
import collections
import json
import pathlib
import sys
import time


class Counts:
    """What came of the requests so far."""

    def __init__(self):
        self.asked = 0
        self.failed = collections.Counter()
        self.slowest = 0.0
        self.kept = 0

    def note(self, begun, failure):
        """Count one request."""
        self.asked += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)
        if failure:
            self.failed[failure] += 1


async def _ask(port, connection, closing):
    """Ask once, over *connection* if it is open; return (connection or None, failure or "")."""
    try:
        reader, writer = connection or await asyncio.open_connection("127.0.0.1", port)
    except OSError as error:
        return None, f"connect: {error.strerror}"
    try:
        how = b"close" if closing else b"keep-alive"
        writer.write(b"GET / HTTP/1.1\r\nHost: bench\r\nConnection: " + how + b"\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line[15:]) for line in head.split("\r\n") if line.startswith("content-length:"))
        await reader.readexactly(length)
    except (OSError, EOFError) as error:
        writer.close()
        return None, f"answer: {type(error).__name__}"
    status = head.split(" ", 2)[1]
    if closing or "connection: close" in head:
        writer.close()
        return None, "" if status == "200" else f"status {status}"
    return (reader, writer), "" if status == "200" else f"status {status}"


async def _caller(port, pause, counts, going, *, closing):
    connection = None
    due = time.monotonic()
    while going.exists():
        due += pause
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        begun = time.monotonic()
        if connection is not None and connection[0].at_eof():
            connection[1].close()
            connection = None
        counts.kept += connection is not None
        try:
            async with asyncio.timeout(30):
                connection, failure = await _ask(port, connection, closing)
        except TimeoutError:
            connection, failure = None, "no answer in 30 s"
        counts.note(begun, failure)
    if connection is not None:
        connection[1].close()


async def main(port, rate, keep, new, going):
    """Ask until *going* is gone and print what came of it."""
    counts = Counts()
    pause = (keep + new) / rate
    async with asyncio.TaskGroup() as group:
        for number in range(keep + new):
            group.create_task(_caller(port, pause, counts, going, closing=number >= keep))
    print(
        json.dumps(
            {
                "asked": counts.asked,
                "failed": sum(counts.failed.values()),
                "how": dict(counts.failed),
                "over_kept_connections": counts.kept,
                "slowest_seconds": round(counts.slowest, 3),
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), pathlib.Path(sys.argv[5]))
    )
