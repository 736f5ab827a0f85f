"""Record what a process does to a directory, and rebuild every state a crash could have left it in.

`strace` writes down each change of a file and each sync, with its data. From that record `Disk` rebuilds the directory
after a kill at any point (everything that was written is there: the page cache outlives a process), and after a power
cut at any point: what was not synced is there, or not, or in part. A name that was created, renamed or removed is sure
only once its directory was synced; unsure ones are kept in order, as journaling file systems do. Data of a file is sure
only once that file was synced; unsure writes are kept in any combination, sector by sector.
"""

import pathlib
import re
import subprocess
import sys
from dataclasses import dataclass, field

SECTOR = 512
_CALLS = "openat,pwrite64,write,fsync,fdatasync,ftruncate,truncate,unlink,unlinkat,rename,renameat,renameat2,mkdir"
_LINE = re.compile(r"^(?P<at>\d+\.\d+) (?P<call>\w+)\((?P<args>.*)\)\s+= (?P<result>\d+)")
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")


@dataclass(frozen=True)
class Step:
    """One thing a process did: a call, the file (or new name) it was about, and the call's other values."""

    call: str
    name: str
    offset: int = 0
    data: bytes = b""


def record(command, directory, environment, output):
    """Run *command* and return its steps on *directory*, and what it wrote to its standard output, in order."""
    trace = ["strace", "-ff", "-y", "-xx", "-s", "1000000", "--absolute-timestamps=format:unix,precision:ns"]
    done = subprocess.run(
        [*trace, "-e", f"trace={_CALLS}", "-o", str(output / "trace"), *command],
        env=environment, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode()
    lines = [line for path in output.glob("trace.*") for line in path.read_text().splitlines()]
    return list(_steps(sorted(lines), str(directory)))


def _steps(lines, directory):
    calls = (call for line in lines if (call := _parsed(line)) is not None)
    positions = {}
    for call in calls:
        if call.name == "openat":
            positions[call.result] = 0
        if call.name == "write" and call.descriptor == "1":
            yield Step("said", "", 0, call.texts[0])
        elif call.path.startswith(directory) and not call.path.endswith("-shm"):
            step = _step(call, positions, directory)
            if step is not None:
                yield step


@dataclass(frozen=True)
class _Call:
    """A line of the trace: *path* is of the descriptor if there is one, else the first text."""

    name: str
    arguments: str
    result: str
    descriptor: str
    path: str
    texts: list[bytes]


def _parsed(line):
    found = _LINE.match(line)
    if found is None:
        return None
    arguments = _HEX.sub(lambda hexed: hexed[0].replace("\\x", ""), found["args"])
    texts = [bytes.fromhex(each) for each in re.findall(r'"([0-9a-f]*)"', arguments)]
    about = re.match(r"(\d+)<([0-9a-f]+)>", arguments)
    path = bytes.fromhex(about[2]) if about else texts[0]
    return _Call(found["call"], arguments, found["result"], about[1] if about else "", path.decode(), texts)


def _step(call, positions, directory):
    if call.name == "openat":
        assert "O_TRUNC" not in call.arguments, "truncating opens are not modelled"
        return Step("create", call.path) if "O_CREAT" in call.arguments else None
    if call.name == "write":
        at = positions[call.descriptor]
        positions[call.descriptor] += len(call.texts[0])
        return Step("write", call.path, at, call.texts[0])
    if call.name in {"pwrite64", "ftruncate", "truncate"}:
        at = int(call.arguments.rsplit(", ", 1)[1])
        return (
            Step("write", call.path, at, call.texts[0])
            if call.texts and call.name == "pwrite64"
            else Step("cut", call.path, at)
        )
    if call.name in {"fsync", "fdatasync"}:
        return Step("sync names" if call.path == directory else "sync", call.path)
    if call.name.startswith("rename"):
        return Step("rename", call.path, 0, call.texts[1])
    return Step("unlink", call.path) if call.name.startswith("unlink") else None


@dataclass
class _File:
    sure: bytearray = field(default_factory=bytearray)
    unsure: list[Step] = field(default_factory=list)

    def content(self, keep):
        data = bytearray(self.sure)
        for step in self.unsure:
            for offset, part in keep(step):
                _apply(data, step.call, offset, part)
        return bytes(data)


def _apply(data, call, offset, part):
    if call == "cut":
        del data[offset:]
        data.extend(bytes(offset - len(data)))
    else:
        data.extend(bytes(max(0, offset - len(data))))
        data[offset : offset + len(part)] = part


class Disk:
    """A directory as the process sees it, and what of it would survive."""

    def __init__(self, contents=()):
        self._files = [_File(bytearray(content)) for content in dict(contents).values()]
        self._now = {name: number for number, name in enumerate(dict(contents))}
        self._sure = dict(self._now)
        self._unsure = []

    def follow(self, step):
        """Do one step."""
        if step.call in {"create", "unlink", "rename"}:
            if step.call == "create":
                if step.name in self._now:
                    return
                self._files.append(_File())
            change = (step.call, step.name, step.data.decode(), len(self._files) - 1)
            self._unsure.append(change)
            _rename(self._now, change)
        elif step.call == "sync names":
            for change in self._unsure:
                _rename(self._sure, change)
            self._unsure.clear()
        elif step.call == "sync":
            file = self._files[self._now[step.name]]
            file.sure = bytearray(file.content(_all))
            file.unsure.clear()
        elif step.call in {"write", "cut"}:
            self._files[self._now[step.name]].unsure.append(step)

    def after_kill(self):
        """Return the content of each file if only the process ends."""
        return {name: self._files[number].content(_all) for name, number in self._now.items()}

    def after_power_cut(self, chance=None):
        """Return the content of each file if nothing unsure survives, or what *chance* decides does."""
        names = dict(self._sure)
        for change in self._unsure[: chance.randint(0, len(self._unsure)) if chance else 0]:
            _rename(names, change)
        keep = _some(chance) if chance else _none
        return {name: self._files[number].content(keep) for name, number in names.items()}


def _rename(names, change):
    call, name, other, number = change
    if call == "create":
        names[name] = number
    elif call == "unlink":
        names.pop(name, None)
    elif name in names:
        names[other] = names.pop(name)


def _all(step):
    return [(step.offset, step.data)]


def _none(step):
    return []


def _some(chance):
    def keep(step):
        if chance.random() < 0.5 or step.call == "cut":
            return [(step.offset, step.data)] if chance.random() < 0.5 else []
        sectors = range(0, len(step.data), SECTOR)
        return [(step.offset + at, step.data[at : at + SECTOR]) for at in sectors if chance.random() < 0.7]

    return keep


def put_back(contents, old, new):
    """Write the contents, recorded in the directory *old*, into the directory *new*."""
    new.mkdir()
    for name, content in contents.items():
        path = new / pathlib.Path(name).relative_to(old)
        path.write_bytes(content)
        path.chmod(0o600)


def python(script, *arguments):
    """Return the command that runs a script of the tests."""
    return [sys.executable, str(script), *map(str, arguments)]
