"""Several real hosts on this machine: `with bed(3) as ground:` makes them, joined by a cable, each with an engine.

A host is a set of namespaces (network, processes, mounts, host name) with a root file system that is this machine's
read-only, writes kept apart: the places of a default installation (`/run`, `/var/lib`, `/etc`, `/opt`, `/root`,
`/usr/local`) are its own. Killing its first process is a power cut. What is kept here is what a test needs of such a
host: commands in it, its processes by name, faults on its cable, and what it has that it did not have before.
"""

import concurrent.futures
import contextlib

from tests.bed.cable import Cable
from tests.bed.faults import Faults
from tests.bed.host import Host
from tests.engine import IMAGES, image_archive

__all__ = ["Ground", "Host", "bed"]


class Ground:
    """Some hosts on one cable, and the faults between them.

    Attributes:
        hosts: In the order of their addresses.
        faults: Cuts, and takes cuts back.
    """

    def __init__(self, count, images=IMAGES):
        self._cable = Cable()
        self._archive = image_archive(images)
        self.hosts = []
        for number in range(1, count + 1):
            self.hosts.append(Host(number, self._cable))
        self.faults = Faults()

    def start(self):
        """Boot every host at the same time; each has the images when this returns."""
        for host in self.hosts:
            host.switch_on()
        with concurrent.futures.ThreadPoolExecutor(len(self.hosts)) as pool:
            list(pool.map(lambda host: host.load(self._archive), self.hosts))

    def close(self):
        """Take everything away and return what did not go by itself, as sentences."""
        with concurrent.futures.ThreadPoolExecutor(len(self.hosts)) as pool:
            left = [each for found in pool.map(lambda host: host.close(), self.hosts) for each in found]
        return left + self._cable.close()


@contextlib.contextmanager
def bed(count, images=IMAGES):
    """Have *count* running hosts on a cable; fail at the end if one left anything on this machine."""
    ground = Ground(count, images)
    try:
        ground.start()
        yield ground
    finally:
        left = ground.close()
    assert left == [], left
