"""`include`: whole projects brought in next to this one, each with its own directory and variables."""

from pilothouse.compose import dotenv, files, layers, paths
from pilothouse.compose.problems import Mark, Marks, Path, broken, nearest
from pilothouse.compose.shapes import Tree

_SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models")


def inclusions(
    session: layers.Session, scope: layers.Scope, value: Tree, marks: Marks, file: str
) -> list[tuple[list[str], layers.Scope, Path]]:
    """Return the files of each entry under `include`, the scope to load them in, and where the entry stands.

    Raises:
        InvalidManifestError: If an entry names no file, a file that may not be read, or one that includes this one.
    """
    found = []
    for index, entry in enumerate(value.get("include") or []):
        path: Path = ("include", index)
        long = {"path": entry} if isinstance(entry, str) else entry
        mark = nearest(marks, path, file)
        named = _strings(long.get("path"))
        if not named:
            raise broken(mark, path, "`path` is missing; write `path: FILE`")
        for name in named:
            if paths.is_remote(name):
                raise broken(mark, path, f"{name!r} is not on this machine; copy the file into the project directory")
        chosen = [files.absolute(name, scope.directory) for name in named]
        chain = (*scope.chain, file)
        if chosen[0] in chain:
            circle = " -> ".join((*chain, chosen[0]))
            raise broken(mark, path, f"files include each other in a circle: {circle}; remove one `include`")
        directory = long.get("project_directory")
        directory = files.absolute(directory, scope.directory) if directory else chosen[0].rsplit("/", 1)[0] or "/"
        environment = _environment(session, scope, directory, _strings(long.get("env_file")), mark, path)
        found.append((chosen, layers.Scope(directory, environment, chain), path))
    return found


def bring_in(imported: Tree, value: Tree, marks: Marks, file: str, path: Path) -> Tree:
    """Return value with the resources of an imported project.

    Raises:
        InvalidManifestError: If both define the same resource differently.
    """
    joined = dict(value)
    for section in _SECTIONS:
        theirs = imported.get(section)
        if not theirs:
            continue
        ours = dict(joined.get(section) or {})
        for name, resource in theirs.items():
            if name in ours and ours[name] != resource:
                mark = nearest(marks, (section, name), file)
                message = f"the included project defines {section}.{name} too; rename one of them"
                raise broken(mark, (*path, section, name), message)
            ours[name] = resource
        joined[section] = ours
    return joined


def read_environment(
    session: layers.Session, named: list[str], known: dict[str, str], *, given: bool, mark: Mark, path: Path
) -> dict[str, str]:
    """Return the variables of environment files; later files win, and values may refer to known ones.

    Args:
        given: Whether the caller named the files, who may name any.

    Raises:
        InvalidManifestError: If a file cannot be read or a line is not understood.
    """
    found: dict[str, str] = {}
    for file in named:
        try:
            content = session.reader.given(file) if given else session.reader.named(file)
            dotenv.parse(content.decode(), known, found)
        except files.FileError as error:
            raise broken(mark, path, f"environment file: {error}") from None
        except UnicodeDecodeError:
            raise broken(Mark(file, 0, 0), (), "not UTF-8 text; save it as UTF-8") from None
        except dotenv.DotenvError as error:
            raise broken(Mark(file, error.line, 1), (), str(error)) from None
    return found


def _environment(
    session: layers.Session, scope: layers.Scope, directory: str, named: list[str], mark: Mark, path: Path
) -> dict[str, str]:
    chosen = [files.absolute(name, scope.directory) for name in named]
    default = f"{directory}/.env"
    if not chosen and files.is_file(default):
        chosen = [default]
    known = dict(scope.environment)
    return {**read_environment(session, chosen, known, given=False, mark=mark, path=path), **known}


def _strings(value: Tree) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)
