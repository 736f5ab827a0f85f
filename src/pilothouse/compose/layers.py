"""One file on top of the others: interpolate, check, extend, include, merge, bring into the long form.

Everything that the files of a project share while they are loaded is in a `Session`; what is particular to one file is
its `Scope`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.compose import check, document, files, interpolate, merge, shorts
from pilothouse.compose.problems import Mark, Marks, Path, Problems, broken, nearest
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.several import Failed
from pilothouse.compose.shapes import Shape, Tree


@dataclass(slots=True)
class Session:
    """What one load carries along.

    Attributes:
        marks: Where each path of the merged project stands; the last file that says it wins.
        values: Contents that come from variables, by path (`secrets.NAME`, `configs.NAME`); never printed.
        failed: What an earlier attempt refused, and this one goes on without.
    """

    reader: files.Reader
    problems: Problems = field(default_factory=Problems)
    marks: Marks = field(default_factory=dict)
    warnings: dict[str, None] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    failed: Failed = field(default_factory=Failed)

    def warn(self, message: str) -> None:
        """Keep a warning, once."""
        self.warnings.setdefault(message)

    def rejecter(self, marks: Marks, file: str) -> merge.Reject:
        """Return a function that records a problem at a path."""
        return lambda path, message: self.problems.add(nearest(marks, path, file), path, message)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a file is read.

    Attributes:
        directory: What its relative paths are relative to.
        environment: The variables it may use.
        chain: The files that include it, outermost first.
    """

    directory: str
    environment: Mapping[str, str]
    chain: tuple[str, ...] = ()


def prepare(session: Session, scope: Scope, doc: document.Document) -> Tree:
    """Return a document with its variables replaced and its keys checked, as far as one file alone can be.

    Raises:
        InvalidManifestError: If anything in it is wrong.
    """
    if not isinstance(doc.value, dict):
        mark = doc.marks.get((), Mark(doc.file, 0, 0))
        raise broken(mark, (), "the top level must be a mapping; write `services:` and the services below it")
    value = interpolate.interpolate(
        session.failed.without(doc.value),
        PROJECT,
        scope.environment,
        session.problems,
        doc.marks,
        doc.file,
        session.warn,
    )
    check.check(value, PROJECT, doc.marks, doc.file, session.problems, whole=False)
    session.problems.raise_any()
    return value


def stack(session: Session, doc: document.Document, below: Tree, value: Tree) -> Tree:
    """Return value, which doc says, on top of what the files below say.

    Raises:
        InvalidManifestError: If the result is no Compose document.
    """
    reject = session.rejecter(session.marks, doc.file)
    session.marks.update(doc.marks)
    joined = merge.merge(without(below, doc.cleared), value, PROJECT, reject)
    joined = merge.apart(joined, PROJECT, reject)
    session.problems.raise_any()
    check.check(joined, PROJECT, session.marks, doc.file, session.problems, whole=True)
    session.problems.raise_any()
    if joined.pop("version", None) is not None:
        session.warn(
            f"{doc.file}: the attribute `version` is obsolete, it will be ignored, "
            "please remove it to avoid potential confusion"
        )
    return long_form(session, joined, session.marks, doc.file)


def long_form(session: Session, value: Tree, marks: Marks, file: str) -> Tree:
    """Return value with every short form replaced by its long one.

    Raises:
        InvalidManifestError: If a short form cannot be read.
    """
    reject = session.rejecter(marks, file)

    def visit(item: Tree, shape: Shape, path: Path) -> Tree:
        if not shape.long or item is None:
            return item
        try:
            return shorts.RULES[shape.long](item)
        except ValueError as error:
            reject(path, str(error))
            return None

    long = merge.walk(value, PROJECT, (), visit)
    session.problems.raise_any()
    long = merge.apart(long, PROJECT, reject)
    session.problems.raise_any()
    return long


def without(value: Tree, cleared: list[Path], at: Path = ()) -> Tree:
    """Return value without what stands at the cleared paths."""
    if not cleared or not isinstance(value, dict):
        return value
    gone = set(cleared)
    return {key: without(item, cleared, (*at, key)) for key, item in value.items() if (*at, key) not in gone}
