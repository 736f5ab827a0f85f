"""What services wait for: the edges must lead somewhere and never back."""

from collections.abc import Iterator

from pilothouse.model.spec import ServiceSpec
from pilothouse.model.validate.grammar import Finding
from pilothouse.model.volumes import companions


def dependencies(services: tuple[ServiceSpec, ...]) -> Iterator[Finding]:
    """Yield unknown and repeated dependencies, and each cycle once, by name."""
    known = {service.name for service in services}
    for service in services:
        path = f"services.{service.name}.depends_on"
        seen: set[str] = set()
        for edge in service.depends_on:
            if edge.required and edge.service not in known:
                yield (
                    f"{path}.{edge.service}",
                    "there is no such service; define it, remove the dependency or write required: false",
                )
            if edge.service in seen:
                yield f"{path}.{edge.service}", "is written twice; keep one"
            seen.add(edge.service)
    for cycle in cycles({s.name: waits_for(s) & known for s in services}):
        yield (
            f"services.{cycle[0]}.depends_on",
            f"waits for itself: {' → '.join((*cycle, cycle[0]))}; remove one of these dependencies",
        )


def waits_for(service: ServiceSpec) -> set[str]:
    """Return the services *service* cannot start without, whichever key says so."""
    return {*companions(service.task.container), *(edge.service for edge in service.depends_on)}


def cycles(edges: dict[str, set[str]]) -> Iterator[tuple[str, ...]]:
    """Yield a cycle of each knot in *edges*, beginning with its first name; iterative, so depth is no limit."""
    done: set[str] = set()
    for start in sorted(edges):
        if start in done:
            continue
        trail: list[str] = []
        on_trail: set[str] = set()
        work = [(start, iter(sorted(edges[start])))]
        trail.append(start)
        on_trail.add(start)
        while work:
            name, following = work[-1]
            child = next(following, None)
            if child is None:
                work.pop()
                done.add(name)
                on_trail.discard(trail.pop())
            elif child in on_trail:
                yield _turned(tuple(trail[trail.index(child) :]))
            elif child not in done:
                work.append((child, iter(sorted(edges[child]))))
                trail.append(child)
                on_trail.add(child)


def _turned(cycle: tuple[str, ...]) -> tuple[str, ...]:
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]
