"""What each side of a split got, from counters that only Envoy resets. Pure: numbers in, reports out.

A side's counts begin at zero when its fingerprint is first seen; where Envoy's are smaller than before, it was started
anew, and what it counted until then is carried on.
"""

from collections.abc import Iterable, Mapping

import msgspec

from pilothouse.agent.proxy.admin import Bucket
from pilothouse.agent.proxy.clusters import BYTES, NEW, OLD, cluster_names
from pilothouse.agent.proxy.shares import Served
from pilothouse.model.rollout import Golden
from pilothouse.model.wire import Split, TrafficReport

Numbers = dict[str, int]
"""Counters by name; a bucket of a latency is the counter "BOUND"."""


class Counted(msgspec.Struct):
    """Where the counts of one split stand.

    Attributes:
        last: Envoy's counters when they were last read, each since it was started, by side and counter.
        total: What came since the beginning, likewise.
    """

    began: float
    read: float
    last: dict[str, Numbers]
    total: dict[str, Numbers]


Hosts = Mapping[str, Mapping[tuple[str, int], Mapping[str, int]]]


def sides(
    port: Served, numbers: Mapping[str, int], latencies: Mapping[str, list[Bucket]], hosts: Hosts
) -> dict[str, Numbers]:
    """Return the counters of one port, by "PLACE SIDE", as Envoy has them now.

    Args:
        port: Served, with a split.
        numbers, latencies: Envoy's counters and histograms by name.
        hosts: The counters of each endpoint, by cluster.
    """
    found: dict[str, Numbers] = {}
    names = cluster_names(port)
    for side in (OLD, NEW):
        name = names.get(side)
        if name is not None:
            http = {
                "requests": numbers.get(f"cluster.{name}.upstream_rq_completed", 0),
                "errors": numbers.get(f"cluster.{name}.upstream_rq_5xx", 0),
            }
            buckets = latencies.get(f"cluster.{name}.upstream_rq_time", [])
            found[f"{name} {side}"] = http | {f"{each.upper_bound:g}": each.cumulative for each in buckets}
    if BYTES in names:
        of = hosts.get(names[BYTES], {})
        for backend in port.backends:
            seen = of.get((backend.address, backend.port.target))
            if seen is not None:
                failed = seen.get("cx_connect_fail", 0)
                side = NEW if port.is_new(backend) else OLD
                counts = {"requests": seen.get("cx_total", 0), "errors": failed}
                found[f"{names[BYTES]}/{backend.task_id} {side}"] = counts
    return found


class Meter:
    """The counts of every split; `kept` is what a later agent needs to go on."""

    def __init__(self, kept: Mapping[str, Counted] | None = None) -> None:
        self.kept = dict(kept or {})

    def read(self, splits: Iterable[Split], seen: Mapping[str, Mapping[str, Numbers]], now: float) -> None:
        """Take a reading: *seen* are the counters of each service's ports, as of `sides`."""
        wanted = {_key(split): split for split in splits}
        self.kept = {key: counted for key, counted in self.kept.items() if key in wanted}
        for key, split in wanted.items():
            current = {place: dict(numbers) for place, numbers in seen.get(f"{split.app}/{split.service}", {}).items()}
            counted = self.kept.get(key)
            if counted is None:
                self.kept[key] = Counted(began=now, read=now, last=current, total={})
                continue
            for place, numbers in current.items():
                before, total = counted.last.get(place, {}), counted.total.setdefault(place, {})
                restarted = numbers.get("requests", 0) < before.get("requests", 0)
                for name, value in numbers.items():
                    total[name] = total.get(name, 0) + max(0, value - (0 if restarted else before.get(name, 0)))
            counted.last.update(current)
            counted.read = now

    def reports(self, splits: Iterable[Split]) -> tuple[TrafficReport, ...]:
        """Return what is known of each split that was read."""
        return tuple(
            TrafficReport(
                app=split.app,
                service=split.service,
                fingerprint=split.fingerprint,
                measured_from=counted.began,
                measured_at=counted.read,
                old=_golden(counted.total, OLD),
                new=_golden(counted.total, NEW),
            )
            for split in splits
            if (counted := self.kept.get(_key(split))) is not None
        )


def _key(split: Split) -> str:
    return f"{split.app}/{split.service} {split.fingerprint}"


def _golden(total: Mapping[str, Numbers], side: str) -> Golden:
    """Return the sum over all ports of one side."""
    of = [numbers for place, numbers in total.items() if place.endswith(f" {side}")]
    bounds = sorted({float(name) for numbers in of for name in numbers if name not in {"requests", "errors"}})
    return Golden(
        requests=sum(numbers.get("requests", 0) for numbers in of),
        errors=sum(numbers.get("errors", 0) for numbers in of),
        buckets=tuple((bound, sum(numbers.get(f"{bound:g}", 0) for numbers in of)) for bound in bounds),
    )
