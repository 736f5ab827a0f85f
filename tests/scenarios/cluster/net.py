"""The network between agents and managers: it delays, loses, and can be cut in either direction."""

import asyncio
import contextvars

from pilothouse.errors import SessionLostError

DIAL_SECONDS = 10.0


class Way:
    """One direction of one node's way to one manager.

    Attributes:
        open: It is not cut.
        loss: The share of messages that need another try, as on a bad line.
    """

    def __init__(self, ids):
        self.ids = ids
        self.open = True
        self.loss = 0.0
        self.lanes = []

    def cut(self):
        self.open = False

    def mend(self):
        self.open = True
        for lane in self.lanes:
            lane.flush()

    def unplug(self):
        """Let nothing of what is connected now through, ever: the machine at the end has no power."""
        for lane in self.lanes:
            lane.dead = True
        self.lanes = []

    def delay(self):
        delay = 0.0005 + 0.002 * self.ids.fraction()
        while self.ids.fraction() < self.loss:
            delay += 0.2 + self.ids.fraction()
        return delay


class Lane:
    """One connection's part of a way; keeps `link.memory.Path`: in order, however long each message takes.

    Attributes:
        context: In which what arrives is taken: of the process at its end, which may be stopped.
    """

    def __init__(self, way):
        self._way = way
        self._waiting = []
        self._free_at = 0.0
        self.dead = False
        self.context = None
        way.lanes.append(self)

    def carry(self, data, deliver):
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time() + self._way.delay())
        loop.call_at(self._free_at, self._arrive, deliver, context=contextvars.Context())

    def _arrive(self, deliver):
        # What is on its way when the line is cut is sent again, and arrives once it is mended.
        self._waiting.append(deliver)
        self.flush()

    def flush(self):
        while self._waiting and self._way.open and not self.dead:
            asyncio.get_running_loop().call_soon(self._waiting.pop(0), context=self.context)


class Net:
    """Both ways between every node and every manager."""

    def __init__(self, ids, managers):
        self._ids = ids
        self._managers = managers
        self._ways = {}

    def _way(self, node_id, manager, direction):
        return self._ways.setdefault((node_id, manager, direction), Way(self._ids))

    def ways(self, node_id, manager="", *, up=True, down=True):
        """Return the ways of a node, to one manager or to all, in one direction or both."""
        directions = [name for name, wanted in (("up", up), ("down", down)) if wanted]
        return [self._way(node_id, m, each) for m in self._managers if manager in {"", m} for each in directions]

    async def dial(self, node_id, manager):
        """Return the two lanes of a new connection, once both directions let one be made.

        Raises:
            SessionLostError: They did not, for so long that the caller gives up.
        """
        up, down = self.ways(node_id, manager)
        until = asyncio.get_running_loop().time() + DIAL_SECONDS
        while not (up.open and down.open):
            if asyncio.get_running_loop().time() > until:
                raise SessionLostError("nobody answered the call")
            await asyncio.sleep(0.25)
        await asyncio.sleep(up.delay() + down.delay())
        return Lane(up), Lane(down)

    def unplug(self, node_id):
        for way in self.ways(node_id):
            way.unplug()

    def mend_all(self):
        for way in self._ways.values():
            way.mend()
            way.loss = 0.0
