"""Where tasks may run: rules that can be read, wishes that mean something, and no two that no node could ever keep."""

from collections.abc import Iterable, Iterator
from itertools import combinations

from pilothouse.errors import InvalidManifestError, InvalidRequestError
from pilothouse.model.constraints import Constraint, Operator, parse_constraint
from pilothouse.model.contradictions import contradiction
from pilothouse.model.counts import listed
from pilothouse.model.names import check_app_name, check_key
from pilothouse.model.placement import Affinity, Placement, Preference, Spread, Toleration
from pilothouse.model.spec import AppSpec, CutOff, CutOffAction, ServiceSpec
from pilothouse.model.validate.grammar import Finding, within
from pilothouse.model.volumes import companions, local_volumes_of

MOST_RULES = 100
"""Constraints, preferences, affinities, tolerations and levels of spread that one service may have, of each kind."""

LONGEST_CUT_OFF = 7 * 86400.0
_LABELS = ("node.labels.", "engine.labels.")


def placement(path: str, spec: ServiceSpec, known: frozenset[str]) -> Iterator[Finding]:
    """Yield what is wrong with where one service may run; *known* are the app's services."""
    asked, deploy, ours = spec.task.placement, f"{path}.deploy.placement", f"{path}.x-pilothouse.placement"
    yield from _numbers(ours, deploy, asked)
    yield from _constraints(f"{deploy}.constraints", asked.constraints, spec.task.container.platform)
    for index, taint in enumerate(asked.tolerations):
        yield from _toleration(f"{ours}.tolerate[{index}]", taint)
    for index, wish in enumerate(asked.preferences):
        yield from _preference(f"{ours}.prefer[{index}]", wish)
    yield from _affinities(ours, spec, known)
    yield from _spreads(path, asked)
    if spec.cut_off is not None:
        yield from _cut_off(f"{path}.x-pilothouse.cut_off", spec.cut_off)


def together(spec: AppSpec) -> Iterator[Finding]:
    """Yield services that must be on one node by one rule and cannot be by another."""
    services = {service.name: service for service in spec.services}
    for (one, other), why in _pairs(spec).items():
        if one in services and other in services:
            yield from _torn_apart(services[one], services[other], why)


def _numbers(ours: str, deploy: str, asked: Placement) -> Iterator[Finding]:
    yield from within(f"{deploy}.max_replicas_per_node", asked.max_replicas_per_node, 0, 1_000_000)
    yield from within(f"{ours}.priority", asked.priority, 0, 1000)
    for name, rules in (
        (f"{deploy}.constraints", asked.constraints),
        (f"{ours}.tolerate", asked.tolerations),
        (f"{ours}.prefer", asked.preferences),
        (f"{ours}.near", asked.affinities),
        (f"{ours}.spread", asked.spread),
    ):
        if len(rules) > MOST_RULES:
            yield name, f"are {len(rules)}; at most {MOST_RULES} can be kept"


def _constraints(path: str, constraints: tuple[str, ...], platform: str) -> Iterator[Finding]:
    found: list[Constraint] = []
    for index, text in enumerate(constraints):
        try:
            found.append(parse_constraint(text))
        except InvalidManifestError as problem:
            yield f"{path}[{index}]", str(problem)
            return
    if against := contradiction([*found, *_of_platform(platform)]):
        # What the platform asks for is no constraint that somebody wrote.
        rules = [str(each) if each in found else f"platform: {platform}" for each in against]
        yield path, f"no node can meet {_quoted(rules)} at once; remove one of them"


def _of_platform(platform: str) -> Iterator[Constraint]:
    system, _, rest = platform.partition("/")
    for key, value in (("node.platform.os", system), ("node.platform.arch", rest.partition("/")[0])):
        if value:
            yield Constraint(key=key, operator=Operator.EQUAL, values=(value,))


def _toleration(path: str, taint: Toleration) -> Iterator[Finding]:
    if taint.value and not taint.key:
        yield (
            f"{path}.value",
            'has no meaning for every taint; name the key of one, or leave the value out with key: "*"',
        )


def _preference(path: str, wish: Preference) -> Iterator[Finding]:
    try:
        parse_constraint(wish.constraint)
    except InvalidManifestError as problem:
        yield f"{path}.constraint", str(problem).replace("placement constraint", "preference", 1)
    yield from within(f"{path}.weight", wish.weight, -100, 100)
    if wish.weight == 0:
        yield f"{path}.weight", "0 changes nothing; write 1 to 100 to prefer such nodes, -1 to -100 to avoid them"


def _affinities(ours: str, spec: ServiceSpec, known: frozenset[str]) -> Iterator[Finding]:
    counts = {False: 0, True: 0}
    for rule in spec.task.placement.affinities:
        path = f"{ours}.{_word(rule)}[{counts[rule.apart]}]"
        counts[rule.apart] += 1
        yield from _named(f"{path}.service", rule.service, known)
        yield from _level(f"{path}.level", rule.level, "node")
        yield from within(f"{path}.weight", rule.weight, 0, 100)
    for one, other in combinations(spec.task.placement.affinities, 2):
        if one.service != other.service:
            continue
        if (one.apart, one.level) == (other.apart, other.level):
            yield f"{ours}.{_word(one)}", f"{one.service} is named twice at level {one.level}; keep one of the two"
        elif one.apart is not other.apart and _clash(*((one, other) if other.apart else (other, one))):
            near, apart = (one, other) if other.apart else (other, one)
            yield (
                f"{ours}.near",
                f"tasks cannot be near {near.service} ({near.level}) and apart from it ({apart.level}) at once; "
                "remove one of them",
            )


def _clash(near: Affinity, apart: Affinity) -> bool:
    """Whether *near* asks for what *apart* forbids: one node has one value of each label."""
    return near.level == apart.level or (near.level == "node" and not near.weight and not apart.weight)


def _named(path: str, service: str, known: frozenset[str]) -> Iterator[Finding]:
    app, slash, name = service.partition("/")
    if not slash:
        if service not in known:
            yield path, f"there is no service {service[:80]!r} in this app; name one of it, or APP/SERVICE of another"
        return
    try:
        check_app_name(app)
        check_key("service", name)
    except InvalidRequestError as problem:
        yield path, f"{problem}; write SERVICE, or APP/SERVICE for one of another app"


def _level(path: str, level: str, whole: str) -> Iterator[Finding]:
    if level != whole and not any(level.startswith(each) and len(level) > len(each) for each in _LABELS):
        yield path, f"{level[:80]!r} is no level; write node, or the key of a label such as node.labels.zone"


def _spreads(path: str, asked: Placement) -> Iterator[Finding]:
    place = f"{path}.x-pilothouse.placement.spread"
    levels: set[str] = set()
    for index, spread in enumerate(asked.spread):
        where = f"{place}[{index}]"
        yield from _level(f"{where}.level", spread.level, "node.id")
        if spread.level in levels:
            yield where, f"{spread.level} is spread over twice (deploy.placement.preferences counts too); keep one"
        levels.add(spread.level)
        yield from _targets(f"{where}.targets", spread, asked.constraints)


def _targets(path: str, spread: Spread, constraints: tuple[str, ...]) -> Iterator[Finding]:
    for value, percent in spread.targets.items():
        if not value:
            yield path, "a target needs the value of the label; write such as eu: 60%"
        yield from within(f"{path}.{value[:80]}", percent, 0, 100)
        asked = Constraint(key=spread.level, operator=Operator.EQUAL, values=(value,))
        if percent and (against := contradiction([*_readable(constraints), asked])) and asked in against:
            yield f"{path}.{value[:80]}", "the constraints keep tasks away from there; change them, or leave it out"
    if (total := sum(spread.targets.values())) > 100:
        yield path, f"are {total} % in all; write percentages of which the sum is 100 at most"


def _cut_off(path: str, rule: CutOff) -> Iterator[Finding]:
    if rule.action is CutOffAction.STOP:
        yield from within(f"{path}.stop", rule.after_seconds, 1, LONGEST_CUT_OFF)
    elif rule.after_seconds:
        yield path, f"{rule.action.value} takes no time; write {rule.action.value} alone, or stop with a time"


def _pairs(app: AppSpec) -> dict[tuple[str, str], str]:
    """Return pairs of services whose tasks must be on one node, in the order of their names, each with the reason."""
    found: dict[tuple[str, str], str] = {}
    first: dict[str, str] = {}
    for service in app.services:
        beside = [(other, "uses namespaces or volumes of") for other in companions(service.task.container)]
        near = [rule for rule in service.task.placement.affinities if not rule.apart and not rule.weight]
        beside += [(rule.service, "is to be near") for rule in near if rule.level == "node"]
        for other, how in beside:
            if other == service.name:
                continue
            found.setdefault((min(service.name, other), max(service.name, other)), f"{service.name} {how} {other}")
        for volume in local_volumes_of(service.task.container, app.volumes):
            owner = first.setdefault(volume, service.name)
            if owner != service.name:
                pair = (min(service.name, owner), max(service.name, owner))
                found.setdefault(pair, f"{owner} and {service.name} both mount the local volume {volume}")
    return found


def _torn_apart(one: ServiceSpec, other: ServiceSpec, why: str) -> Iterator[Finding]:
    """Yield why *one* and *other*, which must be on one node, cannot be."""
    for service, mate in ((one, other), (other, one)):
        for rule in service.task.placement.affinities:
            if rule.apart and not rule.weight and rule.service == mate.name:
                yield (
                    f"services.{service.name}.x-pilothouse.placement.apart",
                    f"{why}, so they are on one node; remove {mate.name} here",
                )
    own = [list(_readable(service.task.placement.constraints)) for service in (one, other)]
    if contradiction(own[0]) or contradiction(own[1]):
        return  # each has its own finding already
    if against := contradiction([*own[0], *own[1]]):
        rules = _quoted([str(each) for each in against])
        yield (
            f"services.{one.name}.deploy.placement.constraints",
            f"{why}, so they are on one node, and none can meet {rules} of the two at once; change one of them",
        )


def _readable(constraints: Iterable[str]) -> Iterator[Constraint]:
    for text in constraints:
        try:
            yield parse_constraint(text)
        except InvalidManifestError:
            continue  # it has a finding of its own


def _word(rule: Affinity) -> str:
    return "apart" if rule.apart else "near"


def _quoted(texts: list[str]) -> str:
    return listed([f"`{text}`" for text in texts])
