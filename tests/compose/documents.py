"""Compose documents by chance: built from the key tables, so that every key and sub-key comes up."""

import yaml
from hypothesis import strategies as st

from pilothouse.compose.service_keys import SERVICE
from pilothouse.compose.shapes import Listing, Named, Pairs, Scalar, Struct, Words

TEXTS = [
    "a",
    "b c",
    "x=y",
    "k:v",
    "",
    "12",
    "true",
    "grüße",
    "-",
    "x #y",
    "$SET",
    "${UNSET:-d}",
    "$$",
    "~",
    "1.5",
    "é ",
    "null",
]
NAMES = ["db", "cache", "n1"]
CODECS = {
    "text": st.sampled_from(TEXTS),
    "printed": st.one_of(st.sampled_from(["80", "81-82/udp"]), st.integers(1, 99)),
    "flag": st.one_of(st.booleans(), st.sampled_from(["true", "false", "yes", "Off"])),
    "whole": st.one_of(st.integers(0, 3), st.sampled_from(["1", "+2", "007", "${N}"])),
    "number": st.integers(0, 1000),
    "unsigned": st.one_of(st.integers(0, 3), st.sampled_from(["1", "${N}"])),
    "float32": st.one_of(st.integers(0, 9), st.sampled_from([0.1, 0.5, 1.25, 1e-7, "0.3", "2"])),
    "nanocpus": st.one_of(st.integers(0, 9), st.sampled_from([0.1, 0.333, "0.50", "2"])),
    "size": st.one_of(st.integers(0, 9000), st.sampled_from(["1m", "64k", "1.5g", "10kb", "2 MiB", "7b", "0"])),
    "duration": st.sampled_from(["1s", "1m30s", "0s", "100ms", "1.5h", "1d", "90m", "1h1ms", "5us", "-3s"]),
    "mode": st.one_of(st.sampled_from(["0440", "644"]), st.integers(0, 0o777)),
    "count": st.one_of(st.integers(1, 3), st.sampled_from(["all", "2"])),
}
KINDS = {"integer": int, "number": (int, float), "string": str, "boolean": bool, "null": type(None)}


def allowed(value, accepts):
    return any(
        isinstance(value, KINDS[kind]) and (kind == "boolean" or not isinstance(value, bool)) for kind in accepts
    )


def of(shape):  # noqa: PLR0911
    """Return values of a shape, in long and in short forms."""
    match shape:
        case Scalar():
            if shape.choices:
                return st.sampled_from(shape.choices)
            fitting = CODECS[shape.codec].filter(lambda value: allowed(value, shape.accepts))
            low, high = shape.low, shape.high
            return fitting.filter(
                lambda value: (
                    isinstance(value, str) or ((low is None or value >= low) and (high is None or value <= high))
                )
            )
        case Struct():
            fields = {name: of(field.shape) for name, field in shape.fields.items()}
            required = {name: fields[name] for name in shape.required}
            long = st.fixed_dictionaries(required, optional={k: v for k, v in fields.items() if k not in required})
            if shape.plain == "whole":
                return st.one_of(long, st.integers(0, 9))
            return long
        case Listing():
            several = st.lists(of(shape.item), max_size=3, unique_by=repr if shape.distinct else None)
            return st.one_of(several, st.sampled_from(["one", "two"])) if shape.lone else several
        case Named():
            mapped = st.dictionaries(st.sampled_from(NAMES), of(shape.value), max_size=2)
            return (
                st.one_of(mapped, st.lists(st.sampled_from(NAMES), unique=True, max_size=2)) if shape.names else mapped
            )
        case Pairs():
            plain = [
                value
                for value in ["v", "", "a=b", 1, 1.5, True, False, None, "$SET", 100000000.0]
                if allowed(value, shape.values)
            ]
            mapped = st.dictionaries(st.sampled_from(["A", "B", "C.d", "SET"]), st.sampled_from(plain), max_size=3)
            listed = st.lists(st.sampled_from(["A=1", "B=x=y", "SET", "C.d="]), unique=True, max_size=3)
            return st.one_of(mapped, listed) if shape.listed else mapped
        case Words():
            return st.one_of(
                st.sampled_from(["a b", "sh -c 'x y'", 'a "b c" d', ""]),
                st.lists(st.sampled_from(["a", "b c"]), max_size=3),
            )
    raise AssertionError(shape)


# What only a few strings can be: the tables leave these to the short forms.
SPECIAL = {
    "ports": st.lists(
        st.one_of(
            st.sampled_from(["80", "80:80", "8080:80/udp", "127.0.0.1:1:2", "1-3:4-6", "[::1]:1:2", "9000-9010:90"]),
            st.integers(1, 65535),
            st.fixed_dictionaries(
                {"target": st.integers(1, 99)},
                optional={
                    "published": st.sampled_from(["1", 2, "3-5"]),
                    "protocol": st.sampled_from(["tcp", "udp"]),
                    "mode": st.sampled_from(["host", "ingress"]),
                    "host_ip": st.sampled_from(["127.0.0.1", "::"]),
                    "name": st.just("web"),
                    "app_protocol": st.just("http"),
                },
            ),
        ),
        max_size=3,
    ),
    "volumes": st.lists(
        st.one_of(
            st.sampled_from(["db:/a", "./x:/b:ro", "/c", "~/h:/d:z,ro", "../u:/e", "cache:/f:nocopy", "/g:/h/../i"]),
            st.fixed_dictionaries(
                {"type": st.just("bind"), "source": st.sampled_from(["./s", "/s", "~"]), "target": st.just("/j")},
                optional={"read_only": st.booleans(), "bind": st.just({"propagation": "rslave"})},
            ),
            st.just({"type": "volume", "source": "n1", "target": "/k/", "volume": {"nocopy": True}}),
            st.just({"type": "tmpfs", "target": "/l", "tmpfs": {"size": "10m"}}),
        ),
        max_size=3,
    ),
    "devices": st.lists(st.sampled_from(["/a", "/a:/b", "/a:/c:r", "x.y/z=1"]), max_size=3),
    "secrets": st.lists(
        st.one_of(st.sampled_from(NAMES), st.just({"source": "db", "target": "t", "mode": 0o400})), max_size=2
    ),
    "configs": st.lists(
        st.one_of(st.sampled_from(NAMES), st.just({"source": "db", "target": "/t", "uid": "1"})), max_size=2
    ),
    "extra_hosts": st.one_of(
        st.lists(st.sampled_from(["a:1.1.1.1", "b=::1", "c:[::2]"]), unique=True),
        st.dictionaries(st.sampled_from("ab"), st.sampled_from(["1.1.1.1", ["2.2.2.2", "::3"]])),
    ),
    "tmpfs": st.one_of(st.just("/run"), st.lists(st.sampled_from(["/tmp", "/run:size=1m"]), unique=True)),
    "build": st.one_of(
        st.just("./ctx"),
        st.fixed_dictionaries(
            {},
            optional={
                "context": st.sampled_from([".", "./a", "https://x.example/y.git"]),
                "dockerfile": st.just("D"),
                "args": of(SERVICE["environment"].shape),
                "labels": of(SERVICE["labels"].shape),
                "additional_contexts": st.sampled_from([["x=./y"], {"z": "docker-image://a"}]),
                "ssh": st.just(["default"]),
                "tags": st.just(["a:b"]),
                "shm_size": CODECS["size"],
                "secrets": st.just(["db"]),
                "ulimits": st.just({"nofile": {"soft": 1, "hard": 2}, "nproc": 3}),
                "no_cache": CODECS["flag"],
                "provenance": st.sampled_from([True, "max"]),
            },
        ),
    ),
    "pull_policy": st.sampled_from(["always", "if_not_present", "daily", "every_2d"]),
    "container_name": st.just("some-name"),
    "env_file": st.just([{"path": "none.env", "required": False}]),
    "label_file": st.just([]),
    "network_mode": st.sampled_from(["host", "none", "service:db"]),
    "gpus": st.sampled_from(["all", [{"capabilities": ["gpu"], "count": 1}], [{"driver": "d"}]]),
    "ipc": st.sampled_from(["host", "service:cache", "shareable"]),
    "pid": st.sampled_from(["host", "service:db"]),
    "links": st.lists(st.sampled_from(["db", "cache:c"]), unique=True),
    "volumes_from": st.lists(st.sampled_from(["db", "cache:ro", "container:x"]), unique=True),
    "healthcheck": st.fixed_dictionaries(
        {},
        optional={
            "test": st.sampled_from(["exit 0", ["CMD", "a"], ["NONE"], ["CMD-SHELL", "b"]]),
            "interval": CODECS["duration"],
            "retries": CODECS["unsigned"],
            "disable": CODECS["flag"],
        },
    ),
    "extends": st.sampled_from(["db", {"service": "cache"}]),
    "use_api_socket": st.booleans(),
    "profiles": st.sampled_from([[], ["on"], ["off"]]),
}
FIELDS = {
    name: SPECIAL[name] if name in SPECIAL else of(field.shape)
    for name, field in SERVICE.items()
    if name not in {"pre_start", "develop"}
}


@st.composite
def services(draw, most=5):
    """Return a service with a few keys that have nothing to do with each other."""
    chosen = draw(st.lists(st.sampled_from(sorted(FIELDS)), unique=True, max_size=most))
    return {"image": "x", **{name: draw(FIELDS[name]) for name in chosen}}


@st.composite
def documents(draw, most=5):
    """Return a project that defines everything its services may refer to."""
    return {
        "services": {"web": draw(services(most)), "db": {"image": "d"}, "cache": {"image": "c"}},
        "networks": {"db": None, "cache": {"driver": "bridge"}, "n1": {"external": True}},
        "volumes": {"db": None, "cache": {"labels": {"a": 1}}, "n1": {"name": "v"}},
        "secrets": {"db": {"file": "./s"}, "cache": {"environment": "SET"}, "n1": {"external": True}},
        "configs": {"db": {"content": "$SET"}, "cache": {"file": "/c"}, "n1": {"environment": "SET"}},
        "models": {"db": {"model": "m"}, "cache": {"model": "m"}, "n1": {"model": "m"}},
    }


def text(document):
    """Return a document as YAML text."""
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
