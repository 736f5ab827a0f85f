"""The network between agents and managers: it delays, loses, and can be cut in either direction."""

import asyncio

from pilothouse.errors import SessionLostError

DIAL_SECONDS = 10.0


class Way:
    """One direction of one node's way to the managers.

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
    """One connection's part of a way; keeps `link.memory.Path`: in order, however long each message takes."""

    def __init__(self, way):
        self._way = way
        self._waiting = []
        self._free_at = 0.0
        self.dead = False
        way.lanes.append(self)

    def carry(self, data, deliver):
        loop = asyncio.get_running_loop()
        self._free_at = max(self._free_at, loop.time() + self._way.delay())
        loop.call_at(self._free_at, self._arrive, deliver)

    def _arrive(self, deliver):
        # What is on its way when the line is cut is sent again, and arrives once it is mended.
        self._waiting.append(deliver)
        self.flush()

    def flush(self):
        while self._waiting and self._way.open and not self.dead:
            self._waiting.pop(0)()


class Net:
    """Both ways of every node."""

    def __init__(self, ids):
        self._ids = ids
        self._ways = {}

    def up(self, node_id):
        return self._ways.setdefault((node_id, "up"), Way(self._ids))

    def down(self, node_id):
        return self._ways.setdefault((node_id, "down"), Way(self._ids))

    async def dial(self, node_id):
        """Return the two lanes of a new connection, once both directions let one be made.

        Raises:
            SessionLostError: They did not, for so long that the caller gives up.
        """
        up, down = self.up(node_id), self.down(node_id)
        until = asyncio.get_running_loop().time() + DIAL_SECONDS
        while not (up.open and down.open):
            if asyncio.get_running_loop().time() > until:
                raise SessionLostError("nobody answered the call")
            await asyncio.sleep(0.25)
        await asyncio.sleep(up.delay() + down.delay())
        return Lane(up), Lane(down)

    def unplug(self, node_id):
        self.up(node_id).unplug()
        self.down(node_id).unplug()

    def mend_all(self):
        for way in self._ways.values():
            way.mend()
            way.loss = 0.0
