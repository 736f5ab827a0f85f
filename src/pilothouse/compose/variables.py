"""The final environment and labels of services: what stands in the file over what `env_file` and `label_file` bring."""

from collections.abc import Mapping

from pilothouse.compose import dotenv, files, layers
from pilothouse.compose.problems import Mark, Path, nearest
from pilothouse.compose.shapes import Tree


def resolve(session: layers.Session, services: Mapping[str, Tree], environment: Mapping[str, str], file: str) -> None:
    """Fill in the environment and the labels of services in place, and drop the files they came from.

    What cannot be read becomes a problem of the session.
    """
    for name, service in services.items():
        _environment(session, service, environment, ("services", name), file)
        _labels(session, service, ("services", name), file)


def _environment(
    session: layers.Session, service: dict[str, Tree], environment: Mapping[str, str], at: Path, file: str
) -> None:
    own = {
        name: environment.get(name) if value is None else value
        for name, value in (service.get("environment") or {}).items()
    }
    found = {name: value for name, value in own.items() if value is not None}
    known = {**found, **environment}
    for index, entry in enumerate(service.pop("env_file", None) or []):
        path = (*at, "env_file", index)
        content = _content(session, entry["path"], path, file, required=entry["required"])
        if content is None:
            continue
        style = entry.get("format", "")
        if style in {"", "raw"}:
            _read(session, entry["path"], content, known, found, raw=style == "raw")
        else:
            mark = nearest(session.marks, path, file)
            session.problems.add(mark, path, f"unknown format {style!r}; write raw, or nothing")
    result = {**found, **own}
    if result:
        service["environment"] = dict(sorted(result.items()))


def _labels(session: layers.Session, service: dict[str, Tree], at: Path, file: str) -> None:
    found: dict[str, str] = {}
    for index, name in enumerate(service.pop("label_file", None) or []):
        content = _content(session, name, (*at, "label_file", index), file, required=True)
        if content is not None:
            _read(session, name, content, {}, found, raw=False)
    found.update(service.get("labels") or {})
    if found:
        service["labels"] = dict(sorted(found.items()))


def _content(session: layers.Session, name: str, path: Path, file: str, *, required: bool) -> str | None:
    mark = nearest(session.marks, path, file)
    try:
        return session.reader.named(name).decode()
    except files.FileMissingError as error:
        if required:
            session.problems.add(mark, path, str(error))
    except files.FileError as error:
        session.problems.add(mark, path, str(error))
    except UnicodeDecodeError:
        session.problems.add(mark, path, f"{name} is not UTF-8 text; save it as UTF-8")
    return None


def _read(
    session: layers.Session, name: str, text: str, known: Mapping[str, str], found: dict[str, str], *, raw: bool
) -> None:
    try:
        (dotenv.parse_raw if raw else dotenv.parse)(text, known, found)
    except dotenv.DotenvError as error:
        session.problems.add(Mark(name, error.line, 1), (), str(error))
