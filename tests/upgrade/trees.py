"""Other versions of Pilothouse, made out of this tree: a copy with a few lines changed, as a next version would have.

The next one stores more of a task and a node, knows another state of health, lets people decide something new about a
node, and says more in its messages. It does so all the time, so that wherever an older one reads, it would meet it.
"""

import pathlib
import shutil

ROOT = pathlib.Path(__file__).parents[2]
SOURCE = ROOT / "src" / "pilothouse"

NEW = """{
    2: {"Node.mood": "", "TaskStatus.mood": "", "Health.CONTENT": "NONE", "NodeSpec.motto": ""},
}"""

_NEXT = (
    ("model/format.py", "\nNEW: dict[int, dict[str, str]] = {}\n", f"\nNEW: dict[int, dict[str, str]] = {NEW}\n"),
    # Fields of stored objects, not at the end: what is encoded must be the same all the same.
    ("model/node.py", '    role: str = "manager"\n', '    mood: str = ""\n    role: str = "manager"\n'),
    ("model/node.py", "    trusted_at: float = 0.0\n", '    motto: str = ""\n    trusted_at: float = 0.0\n'),
    ("model/objects.py", '    container_id: str = ""\n', '    container_id: str = ""\n    mood: str = ""\n'),
    ("model/objects.py", '    NONE = "none"\n', '    NONE = "none"\n    CONTENT = "content"\n'),
    (
        "model/ownership.py",
        '        "description": _W.AGENT,\n',
        '        "description": _W.AGENT,\n        "mood": _W.AGENT,\n',
    ),
    # Who writes them: sessions, at each hello and for each report; and people.
    (
        "server/sessions/records.py",
        "    tx.put(replace(node, description=replace(node.description, version=version[:80], format=format)))\n",
        "    about = replace(node.description, version=version[:80], format=format)\n"
        '    tx.put(replace(node, description=about, mood="calm"))\n',
    ),
    (
        "server/sessions/records.py",
        "            tx.put(replace(task, state=report.state,",
        "            from pilothouse.model.objects import Health\n"
        '            report = replace(report, status=replace(report.status, mood="calm", health=Health.CONTENT))\n'
        "            tx.put(replace(task, state=report.state,",
    ),
    (
        "server/cluster/nodes.py",
        "        trusted_at=spec.trusted_at,\n",
        '        trusted_at=spec.trusted_at,\n        motto=patch.labels.get("motto") or spec.motto,\n',
    ),
    # Messages, in both directions.
    ("model/session.py", "    sequence: int\n    pressure:", '    sequence: int\n    mood: str = ""\n    pressure:'),
    ("agent/beats.py", "Beat(sequence=sequence,", 'Beat(sequence=sequence, mood="wild",'),
    ("model/session.py", '    leader: str = ""\n', '    leader: str = ""\n    mood: str = ""\n'),
    ("server/sessions/remote.py", "            Welcome(\n", '            Welcome(\n                mood="wild",\n'),
    # An agent says something new of its own accord, which only its own end of the session can leave out.
    ("agent/remote.py", "self._said(Report(tasks=tasks,", "self._said(Report(tasks=_moody(tasks),"),
    (
        "agent/remote.py",
        "class _Served(Protocol):\n",
        "def _moody(tasks: tuple[TaskReport, ...]) -> tuple[TaskReport, ...]:\n"
        "    from msgspec.structs import replace\n"
        "    from pilothouse.model.objects import Health\n"
        "    return tuple(\n"
        '        replace(each, status=replace(each.status, mood="fine", health=Health.CONTENT)) for each in tasks\n'
        "    )\n\n\n"
        "class _Served(Protocol):\n",
    ),
)


def next_version(directory, number=2, changes=_NEXT):
    """Make the version that knows format *number* in *directory*, and return where Python finds it.

    The one after the next is told from the next by its number alone.
    """
    place = directory / f"version-{number}"
    shutil.copytree(SOURCE, place / "pilothouse", ignore=shutil.ignore_patterns("__pycache__"))
    for path, before, after in (
        ("__init__.py", '__version__ = "0.1.0"', f'__version__ = "0.{number}.0"'),
        ("model/format.py", "\nFORMAT = 1\n", f"\nFORMAT = {number}\n"),
        ("model/session.py", "\nPROTOCOL = 1\n", f"\nPROTOCOL = {number}\n"),
        *changes,
    ):
        file = place / "pilothouse" / path
        text = file.read_text()
        assert text.count(before) == 1, f"{path} has {text.count(before)} times: {before}"
        file.write_text(text.replace(before, after))
    return place


def without_gate(changes=_NEXT):
    """Return the changes of a next version whose author forgot to name what is new."""
    return tuple(each for each in changes if each[0] != "model/format.py")
