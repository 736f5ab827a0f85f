"""`extends`: a service that starts from another service, of the same file or of another one."""

from dataclasses import dataclass

from pilothouse.compose import document, files, layers, merge, paths
from pilothouse.compose.problems import Marks, Path, broken, nearest
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.service_keys import SERVICE
from pilothouse.compose.shapes import Struct, Tree

_SERVICE = Struct(fields=SERVICE)


@dataclass(slots=True)
class _Source:
    """The services of one file, and what it takes to speak about them."""

    file: str
    services: dict[str, Tree]
    marks: Marks
    cleared: list[Path]


def apply(session: layers.Session, scope: layers.Scope, doc: document.Document, value: Tree) -> Tree:
    """Return value with every `extends` in its services carried out.

    Raises:
        InvalidManifestError: If a base is missing, cannot be read, or extends itself.
    """
    services = value.get("services")
    if not isinstance(services, dict):
        return value
    source = _Source(doc.file, dict(services), doc.marks, doc.cleared)
    for name in services:
        source.services[name] = _extend(session, scope, source, name, ())
    return {**value, "services": source.services}


def _extend(
    session: layers.Session, scope: layers.Scope, source: _Source, name: str, chain: tuple[tuple[str, str], ...]
) -> Tree:
    service = source.services[name]
    if not isinstance(service, dict) or "extends" not in service:
        return service
    session.failed.inherits = True
    path: Path = ("services", name, "extends")
    mark = nearest(source.marks, path, source.file)
    wanted = service["extends"]
    ref, other = (wanted, None) if isinstance(wanted, str) else (wanted.get("service"), wanted.get("file"))
    if not isinstance(ref, str):
        raise broken(mark, path, "`service` is missing; write `service: NAME`")
    chain = (*chain, (source.file, name))
    base_source = source if other is None else _open(session, scope, str(other), source, path)
    if ref not in base_source.services:
        raise broken(
            mark, path, f"there is no service {ref!r} in {base_source.file}; write the name of one that is there"
        )
    if (base_source.file, ref) in chain:
        links = " -> ".join(f"{service} ({file})" for file, service in (*chain, (base_source.file, ref)))
        raise broken(mark, path, f"services extend each other in a circle: {links}; remove one `extends`")
    base = _extend(session, scope, base_source, ref, chain)
    if not isinstance(base, dict):
        return service
    base = layers.without(base, source.cleared, ("services", name))
    reject = session.rejecter(source.marks, source.file)
    merged = merge.merge(base, service, _SERVICE, lambda at, message: reject(("services", name, *at), message))
    session.problems.raise_any()
    merged.pop("extends", None)
    source.services[name] = merged
    return merged


def _open(session: layers.Session, scope: layers.Scope, other: str, source: _Source, path: Path) -> _Source:
    mark = nearest(source.marks, path, source.file)
    if paths.is_remote(other):
        raise broken(mark, path, f"{other!r} is not on this machine; copy the file into the project directory")
    file = files.absolute(other, scope.directory)
    try:
        documents = document.read(session.reader.named(file), file)
    except files.FileError as error:
        raise broken(mark, path, str(error)) from None
    joined: Tree = {}
    cleared: list[Path] = []
    marks: Marks = {}
    for doc in documents:
        value = layers.prepare(session, scope, doc)
        value.pop("include", None)
        marks.update(doc.marks)
        cleared.extend(doc.cleared)
        joined = merge.merge(layers.without(joined, doc.cleared), value, PROJECT, session.rejecter(marks, file))
    joined = layers.long_form(session, merge.apart(joined, PROJECT, session.rejecter(marks, file)), marks, file)
    resolved = paths.resolve(joined, PROJECT, file.rsplit("/", 1)[0] or "/", session.reader)
    return _Source(file, resolved.get("services") or {}, marks, cleared)
