"""What goes wrong and what people do meanwhile, as data: made from a seed, printed when a promise breaks, replayable.

A script is a list of (seconds from the start, what, arguments); `end` of a script is when everything is mended.
"""

import random

from tests.scenarios.cluster import apps

STORMS = 0.02
"""The share of storms among all that happens."""


def script(seed, nodes, managers, *, length=240.0, events=24):
    """Return the script of *seed* for the nodes and managers of these names, in order of time."""
    chance = random.Random(seed)
    made = []
    for _ in range(chance.randrange(4, events)):
        at = round(chance.uniform(0, length), 2)
        made += _something(chance, at, nodes, managers)
    return sorted(made, key=lambda each: each[0])


def _something(chance, at, nodes, managers):
    node, manager = chance.choice(nodes), chance.choice(managers)
    lasts = round(at + chance.choice([0.3, 3, 8, 12, 20, 60, 120]), 2)
    if chance.random() < STORMS:
        return _storm(chance, at, lasts, nodes)
    kind = chance.choices(list(_MAKERS), [weight for weight, _ in _MAKERS.values()])[0]
    return _MAKERS[kind][1](chance, at, lasts, node, manager)


def _for_a_while(what, back):
    return lambda chance, at, lasts, node, manager: [(at, what, node), (lasts, back, node)]


def _up(chance, at, lasts, node, manager):
    image = chance.choice([*apps.GOOD, *apps.GOOD, apps.BAD])
    what = "canary" if chance.random() < 0.25 else "up"
    return [(at, what, image, chance.randrange(1, 6), chance.choice(["db:1", "db:1", "db:2"]))]


def _drain(chance, at, lasts, node, manager):
    deadline = chance.choice([None, None, 5.0, 60.0])
    if chance.random() < 0.3:
        return [(at, "drain", node, deadline, round(lasts - at, 2))]
    return [(at, "drain", node, deadline, None), (lasts, "activate", node)]


def _cut(chance, at, lasts, node, manager):
    both = chance.choice([(True, True), (True, False), (False, True)])
    return [(at, "cut", node, *both), (lasts, "heal", node)]


def _part(chance, at, lasts, node, manager):
    both = chance.choice([(True, True), (True, False), (False, True)])
    return [(at, "part", node, manager, *both), (lasts, "join", node, manager)]


def _storm(chance, at, lasts, nodes):
    """Cut most nodes off at once; sometimes a person says that they are lost."""
    away = chance.sample(nodes, max(1, len(nodes) * 3 // 4))
    made = [(at, "cut", node, True, True) for node in away] + [(lasts, "heal", node) for node in away]
    return [*made, (round(at + 20, 2), "confirm")] if chance.random() < 0.4 else made


def _leader_or(chance, manager, at, lasts, what, back):
    name = chance.choice(["leader", manager])
    return [(at, what, name), (lasts, back, name)]


def _pause(chance, at, lasts, node, manager):
    name = chance.choice(["leader", manager, node, node])
    return [(at, "pause", name), (lasts, "go_on", name)]


def _pause_guard(chance, at, lasts, node, manager):
    # The guard has 4 s to kill and looks every second: a shorter stop must never be seen.
    lasts = round(at + chance.uniform(0.1, 2.0), 2)
    return [(at, "pause", f"{node}.guard"), (lasts, "go_on", f"{node}.guard")]


_MAKERS = {
    "up": (5, _up),
    "drain": (5, _drain),
    "taint": (1, _for_a_while("taint", "activate")),
    "batch": (1, lambda chance, at, lasts, node, manager: [(at, "batch", chance.randrange(1, 4))]),
    "kill_agent": (2, lambda chance, at, lasts, node, manager: [(at, "kill_agent", node)]),
    "crash_agent": (
        4,
        lambda chance, at, lasts, node, manager: [
            (at, "crash_agent", node, chance.randrange(1, 12), chance.random() < 0.5)
        ],
    ),
    "engine": (2, _for_a_while("engine_down", "engine_up")),
    "power": (2, _for_a_while("power_off", "power_on")),
    "cut": (3, _cut),
    "loss": (
        1,
        lambda chance, at, lasts, node, manager: [(at, "loss", node, chance.choice([0.1, 0.5])), (lasts, "heal", node)],
    ),
    "kill_leader": (2, lambda chance, at, lasts, node, manager: [(at, "kill_leader")]),
    "crash_leader": (5, lambda chance, at, lasts, node, manager: [(at, "crash_leader", chance.randrange(1, 15))]),
    "slow_store": (1, lambda chance, at, lasts, node, manager: [(at, "store", 0.4, 0), (lasts, "store", 0.0, 0)]),
    "hung_store": (1, lambda chance, at, lasts, node, manager: [(at, "store", 30.0, 0), (lasts, "store", 0.0, 0)]),
    "lost_commits": (1, lambda chance, at, lasts, node, manager: [(at, "store", 0.0, 3), (lasts, "store", 0.0, 0)]),
    "clock": (
        2,
        lambda chance, at, lasts, node, manager: [
            (at, "clock", node, chance.choice([-3600, 3600])),
            (lasts, "clock", node, 0),
        ],
    ),
    "remove": (1, lambda chance, at, lasts, node, manager: [(at, "remove", node), (lasts, "admit", node)]),
    "kill_manager": (2, lambda chance, at, lasts, node, manager: [(at, "kill_manager", manager)]),
    "cut_store": (
        3,
        lambda chance, at, lasts, node, manager: _leader_or(chance, manager, at, lasts, "cut_store", "heal_store"),
    ),
    "part": (3, _part),
    "pause": (5, _pause),
    "pause_guard": (1, _pause_guard),
    "managers_clock": (
        1,
        lambda chance, at, lasts, node, manager: [
            (at, "clock", manager, chance.choice([-3600, 3600])),
            (lasts, "clock", manager, 0),
        ],
    ),
    "manager_clock": (
        1,
        lambda chance, at, lasts, node, manager: [
            (at, "clock", "", chance.choice([-3600, 3600])),
            (lasts, "clock", "", 0),
        ],
    ),
    "kill_container": (3, lambda chance, at, lasts, node, manager: [(at, "kill_container", chance.randrange(1000))]),
}
