"""The shapes that many keys share, and the small structures of a service."""

from pilothouse.compose.shapes import FLAG, NUMBER, WHOLE, Field, Listing, Named, Pairs, Scalar, Shape, Struct, Words

STRING_OR_NUMBER = frozenset({"string", "number"})


def text(**rules: object) -> Field:
    """Return a key that holds one string."""
    return Field(Scalar(**rules))  # type: ignore[arg-type]  # the callers are the tables below; Scalar checks the names


def flag(*, cast: bool = False, keep: bool = False) -> Field:
    """Return a key that holds true or false; `cast` when interpolation casts it."""
    return Field(Scalar(accepts=FLAG, codec="flag", cast="flag" if cast else "", keep=keep))


def whole(*, cast: bool = True, keep: bool = False, low: int | None = None, high: int | None = None) -> Field:
    """Return a key that holds a whole number."""
    return Field(Scalar(accepts=WHOLE, codec="whole", cast="whole" if cast else "", keep=keep, low=low, high=high))


def size(accepts: frozenset[str] = NUMBER) -> Field:
    """Return a key that holds an amount of bytes, with or without a unit."""
    return Field(Scalar(accepts=accepts, codec="size"))


def duration(*, keep: bool = True) -> Field:
    """Return a key that holds a duration such as `1m30s`."""
    return Field(Scalar(codec="duration", keep=keep))


def strings(*, distinct: bool = False, unique: str = "", lone: bool = False, merge: str = "", long: str = "") -> Field:
    """Return a key that holds a list of strings."""
    return Field(Listing(item=Scalar(), distinct=distinct, unique=unique, lone=lone, merge=merge, long=long))


def pairs(codec: str, *, merge: str = "", unique: str = "", long: str = "", path: str = "") -> Field:
    """Return a key that holds a mapping of strings or a list of `KEY=VALUE`."""
    return Field(Pairs(codec=codec, merge=merge, unique=unique, long=long, path=path))


def options(values: frozenset[str] = STRING_OR_NUMBER) -> Field:
    """Return a key whose options are handed on as they are."""
    return Field(Pairs(codec="options", values=values, listed=False))


def struct(required: tuple[str, ...] = (), **fields: Field) -> Field:
    """Return a key that holds a structure."""
    return Field(Struct(fields=fields, required=required))


LABELS = pairs("labels", merge="sequence", unique="key")
HOSTS = Field(
    Pairs(codec="hosts", values=frozenset({"string"}), lists=True, merge="hosts"),
)

ULIMIT = Struct(
    fields={
        "soft": Field(Scalar(accepts=WHOLE, codec="whole", cast="whole")),
        "hard": Field(Scalar(accepts=WHOLE, codec="whole", cast="whole")),
    },
    required=("soft", "hard"),
    short=WHOLE,
    plain="whole",
    cast="whole",
    merge="replace",
    long="ulimit",
)


def ulimits(cast: bool) -> Field:
    """Return a key that holds limits by name; the engine's build takes no interpolated ones."""
    return Field(Named(value=ULIMIT)) if cast else Field(Named(value=_UNCAST_ULIMIT))


_UNCAST_ULIMIT = Struct(
    fields={
        "soft": Field(Scalar(accepts=WHOLE, codec="whole")),
        "hard": Field(Scalar(accepts=WHOLE, codec="whole")),
    },
    required=("soft", "hard"),
    short=WHOLE,
    plain="whole",
    long="ulimit",
)

MOUNTED_FILE = {
    "source": text(),
    "target": text(),
    "uid": text(),
    "gid": text(),
    "mode": Field(Scalar(accepts=NUMBER, codec="mode", keep=True)),
}


def mounted_files(unique: str, default: str = "") -> Field:
    """Return a key that lists secrets or configs to mount."""
    item = Struct(fields=MOUNTED_FILE, short=frozenset({"string"}), long="mount", default=default)
    return Field(Listing(item=item, unique=unique))


HOOK = {
    "command": Field(Words(), always=True),
    "user": text(),
    "privileged": flag(),
    "working_dir": text(),
    "environment": pairs("environment"),
}
HOOKS = Field(Listing(item=Struct(fields=HOOK, required=("command",))))
PRE_START = Field(
    Listing(
        item=Struct(fields={**HOOK, "image": text(), "per_replica": flag()}),
    )
)

DEVICE_REQUEST = {
    "capabilities": strings(distinct=True),
    "driver": text(),
    "count": Field(Scalar(accepts=WHOLE, codec="count")),
    "device_ids": strings(distinct=True),
    "options": pairs("mapping"),
}

WATCH: dict[str, Field] = {
    "path": text(path="link", keep=True),
    "action": text(choices=("rebuild", "sync", "restart", "sync+restart", "sync+exec"), keep=True),
    "target": text(),
    "exec": Field(Struct(fields=HOOK, required=("command",)), always=True),
    "include": strings(distinct=True, lone=True, long="list"),
    "ignore": strings(distinct=True, lone=True, long="list"),
    "initial_sync": Field(Scalar(accepts=frozenset({"boolean"}), codec="flag")),
}


def listing(item: Shape, **rules: str) -> Field:
    """Return a key that holds a list of that shape."""
    return Field(Listing(item=item, **rules))  # type: ignore[arg-type]  # rule names are strings; Listing checks them
