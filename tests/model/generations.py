"""Two versions of one made-up type, the newer with more fields and members than the older, and values of the newer."""

import enum

import msgspec
from hypothesis import strategies as st

STRICT = {"frozen": True, "kw_only": True, "forbid_unknown_fields": True, "omit_defaults": True}
VALUES = {int: st.integers(-3, 3), str: st.sampled_from(["", "a", "b"]), bool: st.booleans()}
NAMES = "abcdef"


class Generation:
    """One type in both versions.

    Attributes:
        older, newer: The types.
        news: What the newer has more, as `model.format.NEW` says it.
        values: A strategy for values of the newer.
    """

    def __init__(self, older, newer, news, values):
        self.older, self.newer, self.news, self.values = older, newer, news, values


@st.composite
def enums(draw, name):
    known = draw(st.lists(st.sampled_from("LMN"), min_size=1, unique=True))
    added = draw(st.lists(st.sampled_from("XYZ"), unique=True))
    older = enum.Enum(name, [(each, each.lower()) for each in known])
    newer = enum.Enum(name, [(each, each.lower()) for each in [*known, *added]])
    news = {f"{name}.{each}": draw(st.sampled_from(known)) for each in added}
    return Generation(older, newer, news, st.sampled_from(newer)), next(iter(older)).name


@st.composite
def generations(draw, name="T", depth=2, members=True):
    """Return a `Generation` of a struct; with *members* enumerations grow too."""
    older, newer, news, values = [], [], {}, {}
    for field in draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True)):
        kind = draw(st.sampled_from(["plain", "enum", "struct", "many", "keyed"] if depth else ["plain", "enum"]))
        if kind == "plain":
            known = draw(st.sampled_from(list(VALUES)))
            types, default, strategy = (known, known), (known(), known()), VALUES[known]
        elif kind == "enum":
            each, first = draw(enums(f"{name}{field}"))
            types, default, strategy = (each.older, each.newer), (each.older[first], each.newer[first]), each.values
            if members:
                news.update(each.news)
            else:
                strategy = st.sampled_from([member for member in each.newer if member.name in each.older.__members__])
        else:
            each = draw(generations(f"{name}{field}", depth - 1, members))
            news.update(each.news)
            types, default, strategy = _holding(kind, each)
        added = draw(st.booleans())
        values[field] = strategy
        newer.append((field, types[1], default[1]))
        if added:
            news[f"{name}.{field}"] = ""
        else:
            older.append((field, types[0], default[0]))
    types = [msgspec.defstruct(name, fields, **STRICT) for fields in (older, newer)]
    return Generation(*types, news, st.fixed_dictionaries(values).map(lambda found: types[1](**found)))


def _holding(kind, each):
    if kind == "struct":
        return (each.older, each.newer), (each.older(), each.newer()), each.values
    if kind == "many":
        many = tuple[each.older, ...], tuple[each.newer, ...]
        return many, ((), ()), st.lists(each.values, max_size=2).map(tuple)
    keyed = dict[str, each.older], dict[str, each.newer]
    return keyed, ({}, {}), st.dictionaries(st.sampled_from("kl"), each.values, max_size=2)


@st.composite
def written(draw, members=True):
    """Return a `Generation` and a value of its newer type."""
    found = draw(generations(members=members))
    return found, draw(found.values)
