"""Strategies for values of the model: anything that decodes, and apps that make sense."""

import enum
import types
import typing

import msgspec
from hypothesis import strategies as st

from pilothouse.model.container import ContainerSpec, NetworkAttachment, Port
from pilothouse.model.spec import AppSpec, Dependency, NetworkSpec, ServiceSpec, TaskSpec

ODD_TEXTS = (
    "",
    "a",
    "..",
    "/",
    "/data",
    "service:a",
    "a:b",
    "8080",
    "\0",
    "é\U0001f600",
    "x" * 300,
    "node==",
    "10.0.0.0/8",
)
ODD_NUMBERS = (0, 1, -1, 2, 1000, 1001, 65536, 2**31, 2**63 - 1, -(2**63), 2**64)


def anything(kind):  # noqa: PLR0911 - one case for each shape a type can have
    """Return a strategy for any value of a type of the model, sensible or not."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = {f.encode_name: anything(f.type) for f in msgspec.structs.fields(kind)}
        return st.fixed_dictionaries({}, optional=fields).map(lambda given: _filled(kind, given))
    if origin in (typing.Union, types.UnionType):
        return st.one_of([anything(argument) for argument in arguments])
    if origin is tuple:
        if arguments[-1] is Ellipsis:
            return st.lists(anything(arguments[0]), max_size=2).map(tuple)
        return st.tuples(*map(anything, arguments))
    if origin is dict:
        return st.dictionaries(anything(arguments[0]), anything(arguments[1]), max_size=2)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return st.sampled_from(list(kind))
    return _SCALARS[kind]


def _filled(kind, given):
    required = {f.encode_name: f.type for f in msgspec.structs.fields(kind) if f.required}
    return kind(**{**{name: _least(t) for name, t in required.items()}, **given})


def _least(kind):
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _filled(kind, {})
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return next(iter(kind))
    return () if typing.get_origin(kind) is tuple else kind()


_SCALARS = {
    str: st.sampled_from(ODD_TEXTS) | st.text(max_size=8),
    int: st.sampled_from(ODD_NUMBERS) | st.integers(),
    float: st.sampled_from((0.0, -1.0, 0.5, 1e300)) | st.floats(),
    bool: st.booleans(),
    type(None): st.none(),
}

VARIABLES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=9)
IMAGES = st.sampled_from(("web", "shop/web:1", "registry.example:5000/a/b@sha256:" + "0" * 64))
NAMES = st.from_regex(r"[a-z][a-z0-9]{0,8}", fullmatch=True)


@st.composite
def sensible_apps(draw):
    """Apps that validate: distinct names, dependencies only on earlier services, distinct ports."""
    names = draw(st.lists(NAMES, min_size=1, max_size=5, unique=True))
    services = []
    for index, name in enumerate(names):
        replicas = draw(st.integers(0, 3))
        low = 8000 + 10 * index
        ports = (Port(target=80, published=(low, low + max(replicas, 1) - 1)),) if draw(st.booleans()) else ()
        container = ContainerSpec(
            image=draw(IMAGES),
            environment=draw(st.dictionaries(NAMES, VARIABLES, max_size=2)),
            networks=(NetworkAttachment(network="default"),),
            ports=ports,
        )  # fmt: skip
        edges = draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        services.append(
            ServiceSpec(
                name=name,
                task=TaskSpec(container=container),
                replicas=replicas,
                depends_on=tuple(Dependency(service=edge) for edge in edges),
            )
        )
    app = draw(NAMES)
    return AppSpec(
        name=app, services=tuple(services), networks=(NetworkSpec(key="default", name=f"{app}_default"),)
    )  # fmt: skip
