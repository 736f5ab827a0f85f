"""Faults on the cable: one nftables table in the host's namespace for each, so that each can be taken back alone."""

import itertools
import subprocess

from tests.bed.cable import PORT

_NUMBERS = itertools.count(1)
_BEFORE_ALL, _AFTER_ALL = -450, 450


class Fault:
    """One fault on one host; also a context."""

    def __init__(self, host, rules):
        self.host = host
        self._name = f"ph_fault_{next(_NUMBERS)}"
        done = _nft(host, f"table inet {self._name} {{\n{rules}\n}}\n")
        assert done.returncode == 0, done.stderr

    def heal(self):
        """Take it back; one that is gone already, with the power for example, stays gone."""
        if self.host.on:
            _nft(self.host, f"table inet {self._name}\ndelete table inet {self._name}\n")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.heal()


class Faults:
    """What can be done to hosts; `heal` takes all of it back."""

    def __init__(self):
        self._made = []

    def cut(self, host, *, way="both", peer=None, loss=100):
        """Drop *loss* percent of the packets a host sends ("out"), gets ("in") or both; only those of *peer*."""
        rules = []
        if way in {"both", "in"}:
            rules.append(_chain("ph_in", "prerouting", _BEFORE_ALL, f"iifname {PORT}", "ip saddr", peer, loss))
        if way in {"both", "out"}:
            rules.append(_chain("ph_out", "postrouting", _AFTER_ALL, f"oifname {PORT}", "ip daddr", peer, loss))
        self._made.append(Fault(host, "\n".join(rules)))
        return self._made[-1]

    def heal(self):
        """Take every fault back."""
        while self._made:
            self._made.pop().heal()


def _chain(name, hook, priority, device, address, peer, loss):
    who = f" {address} {peer.address}" if peer else ""
    share = f" numgen random mod 100 < {loss}" if loss < 100 else ""
    return f"chain {name} {{\ntype filter hook {hook} priority {priority};\n{device}{who}{share} drop\n}}"


def _nft(host, text):
    return subprocess.run(host.enter("nft", "-f", "-"), input=text, capture_output=True, text=True)
