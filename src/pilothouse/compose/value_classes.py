"""Verdicts that depend on what is written under a service key: which value of `network_mode`, which kind of mount.

Each rule sees the value as it stands in the file, before variables are filled in, and yields the path below the key
("" for the key itself) with a verdict; nothing yielded leaves the key its own class.
"""

from collections.abc import Callable, Iterator

from pilothouse.compose.classes import Verdict, care, granted, honoured, refused

Below = tuple[str, Verdict]
Rule = Callable[[object], Iterator[Below]]

_OTHER_APP = "the container is not part of the app"


def _namespace(key: str, kind: str, says: str) -> Rule:
    def rule(value: object) -> Iterator[Below]:
        text = str(value)
        if text == "host":
            yield "", granted(says, kind)
        elif text.startswith("container:"):
            yield "", granted(_OTHER_APP, "container-namespace")
        elif not text.startswith("$"):
            yield "", honoured(f"{key}: {text[:40]} stays within the app")

    return rule


def _network_mode(value: object) -> Iterator[Below]:
    text = str(value)
    if text in {"bridge", "default"}:
        yield "", care("is the default network of the app here, not the engine's", "remove the key")
    else:
        yield from _namespace("network_mode", "network-host", "it uses every address and port of the host")(value)


def _flag(kind: str, reason: str) -> Rule:
    def rule(value: object) -> Iterator[Below]:
        if value is False:
            yield "", honoured("false is the default")
        else:
            yield "", granted(reason, kind)

    return rule


def _volumes(value: object) -> Iterator[Below]:
    for index, entry in enumerate(value if isinstance(value, list) else []):
        kind, below = _mount(entry), f"[{index}]"
        if kind == "bind":
            yield below, granted("a path of the host is the shortest way out of a container", "host-path")
        elif kind == "npipe":
            yield below, refused("a Windows pipe cannot be mounted here", "remove it")
        elif kind == "cluster":
            yield below, refused("Swarm's cluster volumes are not supported", "use a named volume")
        elif kind in {"tmpfs", "image"}:
            yield below, honoured(f"a mount of type {kind}")
        if isinstance(entry, dict) and isinstance(entry.get("bind"), dict) and "recursive" in entry["bind"]:
            yield f"{below}.bind.recursive", refused("the engine decides about nested mounts", "remove it")


def _mount(entry: object) -> str:
    if isinstance(entry, dict):
        return str(entry.get("type", ""))
    source, colon, _ = str(entry).partition(":")
    return "bind" if colon and source.startswith((".", "/", "~")) else "volume"


def _oom_score(value: object) -> Iterator[Below]:
    if str(value).startswith("-"):
        yield "", granted("the kernel would kill other processes first", "oom-score-adj")


def _pids(value: object) -> Iterator[Below]:
    if str(value) == "-1":
        yield "", granted("without a limit one container can use up the host's processes", "pids-unlimited")


def _security(value: object) -> Iterator[Below]:
    options = value if isinstance(value, list) else []
    if options and all(
        str(option).startswith("no-new-privileges") and "false" not in str(option) for option in options
    ):
        yield "", honoured("is on for every container")


def _ulimits(value: object) -> Iterator[Below]:
    for name in ("rtprio", "nice", "rttime"):
        if isinstance(value, dict) and name in value:
            yield f".{name}", granted("it lets the container run before other processes", "realtime")


def _hooks(value: object) -> Iterator[Below]:
    for index, hook in enumerate(value if isinstance(value, list) else []):
        if isinstance(hook, dict) and hook.get("privileged"):
            yield f"[{index}].privileged", granted("a privileged command is the host's root", "hook-privileged")


def _logging(value: object) -> Iterator[Below]:
    driver = value.get("driver", "") if isinstance(value, dict) else ""
    if str(driver) not in {"", "json-file", "local", "none"}:
        yield ".driver", granted("this driver sends output elsewhere", "log-driver")


def _hostname(value: object) -> Iterator[Below]:
    if "{{" in str(value):
        yield "", refused("templates are not filled in yet", "write a plain name or leave it out")


def _pull_policy(value: object) -> Iterator[Below]:
    if value != "build":
        yield "", honoured("decides when the image is pulled")


def _tmpfs(value: object) -> Iterator[Below]:
    lines = value if isinstance(value, list) else [value]
    for index, line in enumerate(lines):
        names = {option.partition("=")[0] for option in str(line).partition(":")[2].split(",")}
        if names - {"", "size", "mode", "ro", "rw", "noexec", "nosuid", "nodev"}:
            yield f"[{index}]", refused("the options of a tmpfs are size=, mode=, ro and rw", "remove the others")


BY_VALUE: dict[str, Rule] = {
    "cgroup": _namespace("cgroup", "cgroup-host", "it shows the host's control groups"),
    "hostname": _hostname,
    "ipc": _namespace("ipc", "ipc-host", "it shares memory with the host"),
    "logging": _logging,
    "network_mode": _network_mode,
    "oom_kill_disable": _flag("oom-kill-disable", "the host can stand still when memory runs out"),
    "oom_score_adj": _oom_score,
    "pid": _namespace("pid", "pid-host", "it shows every process of the host"),
    "pids_limit": _pids,
    "post_start": _hooks,
    "pre_start": _hooks,
    "pre_stop": _hooks,
    "privileged": _flag("privileged", "a privileged container is the host's root"),
    "pull_policy": _pull_policy,
    "security_opt": _security,
    "tmpfs": _tmpfs,
    "ulimits": _ulimits,
    "userns_mode": _namespace("userns_mode", "userns-host", "its root would be the host's root"),
    "uts": _namespace("uts", "uts-host", "it shares the host's name"),
    "volumes": _volumes,
}
