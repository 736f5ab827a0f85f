"""Files to one merged model: each file on top of the one before, with what it extends and includes.

This is the part of loading that calls itself: an included project is loaded the same way before it is brought in.
"""

from dataclasses import dataclass

from pilothouse.compose import defaults, document, extends, files, include, layers, paths, sense
from pilothouse.compose.problems import Mark, Path, broken
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.shapes import Tree


@dataclass(frozen=True, slots=True)
class Source:
    """A file that has been read and parsed."""

    file: str
    documents: tuple[document.Document, ...]


def parsed(file: str, content: bytes) -> Source:
    """Return the documents of a file.

    Raises:
        InvalidManifestError: If it is not YAML, or too much of it.
    """
    return Source(file, tuple(document.read(content, file)))


def given(session: layers.Session, name: str, file: str) -> Source:
    """Return a file that the caller named.

    Raises:
        InvalidManifestError: If it cannot be read.
    """
    try:
        return parsed(file, session.reader.given(file))
    except files.FileError as error:
        raise broken(Mark(name, 0, 0), (), str(error)) from None


def load(session: layers.Session, scope: layers.Scope, sources: list[Source]) -> Tree:
    """Return the model of sources, merged left to right, with paths made absolute.

    Raises:
        InvalidManifestError: If a file cannot be used.
    """
    model: Tree = {}
    for doc in (doc for source in sources for doc in source.documents):
        value = layers.prepare(session, scope, doc)
        value = extends.apply(session, scope, doc, value)
        value = _included(session, scope, doc, value)
        model = layers.stack(session, doc, model, value)
    model = defaults.fill(model, PROJECT)
    sense.check(model, session.marks, sources[0].file, session.problems)
    session.problems.raise_any()
    model = paths.resolve(model, PROJECT, scope.directory, session.reader)
    return _from_variables(session, scope, model)


def _included(session: layers.Session, scope: layers.Scope, doc: document.Document, value: Tree) -> Tree:
    for chosen, inner, path in include.inclusions(session, scope, value, doc.marks, doc.file):
        sources = [_named(session, file, doc, path) for file in chosen]
        imported = load(session, inner, sources)
        value = include.bring_in(imported, value, doc.marks, doc.file, path)
    return {key: item for key, item in value.items() if key != "include"}


def _named(session: layers.Session, file: str, doc: document.Document, path: Path) -> Source:
    try:
        return parsed(file, session.reader.named(file))
    except files.FileError as error:
        raise broken(doc.marks[path], path, str(error)) from None


def _from_variables(session: layers.Session, scope: layers.Scope, model: Tree) -> Tree:
    """Take in what variables of this scope give to services, secrets and configs."""
    model = dict(model)
    for section in ("secrets", "configs"):
        for name, resource in (model.get(section) or {}).items():
            variable = resource.get("environment") if isinstance(resource, dict) else None
            if isinstance(variable, str) and variable in scope.environment:
                session.values.setdefault(f"{section}.{name}", scope.environment[variable])
    services = {}
    for name, service in (model.get("services") or {}).items():
        environment = service.get("environment") if isinstance(service, dict) else None
        if isinstance(environment, list):
            known = [f"{item}={scope.environment[item]}" if item in scope.environment else item for item in environment]
            service = {**service, "environment": known}  # noqa: PLW2901
        services[name] = service
    if services:
        model["services"] = services
    return model
