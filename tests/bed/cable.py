"""What joins the hosts: a bridge in a namespace of its own, where no firewall of the machine sees its frames."""

import subprocess

from tests.engine import held

NETWORK = "10.77.0"
PORT = "eth0"
"""What a host's end is called in the host."""


class Cable:
    """One bridge; hosts are plugged in."""

    def __init__(self):
        self._holder = held(["unshare", "--net"], "ip link add ph-cable type bridge\nip link set ph-cable up")

    def plug(self, number, pid):
        """Give the network namespace of *pid* the address `NETWORK.number`; the end goes when the namespace goes."""
        here = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--"]
        there = ["nsenter", f"--net=/proc/{pid}/ns/net", "--"]
        lines = [
            f"link add host{number} type veth peer name {PORT} netns {pid}",
            f"link set host{number} master ph-cable up",
        ]
        _batch(here, lines)
        # A machine keeps its address in the hardware, so that others find it again without asking.
        hardware = f"link set {PORT} address 02:77:00:00:00:{number:02x}"
        _batch(there, [hardware, f"address add {NETWORK}.{number}/24 dev {PORT}", f"link set {PORT} up"])

    def unplug(self, number):
        """Take a host's end away, if it is still there."""
        here = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--"]
        subprocess.run([*here, "ip", "link", "delete", f"host{number}"], capture_output=True)

    def close(self):
        """Take the bridge away; return what was still plugged in, as sentences."""
        here = ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", "--"]
        shown = subprocess.run([*here, "ip", "-brief", "link", "show", "master", "ph-cable"],
                               capture_output=True, text=True)  # fmt: skip
        self._holder.kill()
        self._holder.wait()
        return [f"still on the cable: {line}" for line in shown.stdout.splitlines()]


def _batch(enter, lines):
    text = "".join(f"{line}\n" for line in lines)
    done = subprocess.run([*enter, "ip", "-batch", "-"], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
