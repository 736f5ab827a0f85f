"""Load a project: the files a user names to the one form that everything after it works on.

The loader runs in the client. It reads files, through one reader; it never reads the process's environment: that is an
argument. Every error in the files is one `InvalidManifestError` whose `errors` name file, line, column and path.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from pilothouse.compose import bind, consistency, discover, files, interpolate, layers, model, normalise, several
from pilothouse.compose import variables as service_variables
from pilothouse.compose.files import Reader
from pilothouse.compose.problems import Mark, Problems, broken, dotted
from pilothouse.compose.project_keys import PROJECT
from pilothouse.compose.shapes import Struct, Tree

_SECTIONS = ("networks", "volumes", "secrets", "configs", "models")


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """What to load, and how.

    Attributes:
        files: Compose files, merged left to right; "-" is `standard_input`. None means COMPOSE_FILE, else a file with a
            default name.
        project_directory: What relative paths are relative to; "" is the directory of the first file.
        project_name: Name of the project; "" takes COMPOSE_PROJECT_NAME, `name:` of the files, or the directory's name.
        profiles: Active profiles; none takes COMPOSE_PROFILES.
        env_files: Files with variables; none takes COMPOSE_ENV_FILES, else `.env` in the project directory.
        environment: The caller's variables; they win over those in files.
        current_directory: What relative paths in these options are relative to.
        readable: Further directories that files named in a manifest may be below.
        all_resources: Whether networks, volumes and so on that no service uses are kept.
    """

    files: tuple[str, ...] = ()
    project_directory: str = ""
    project_name: str = ""
    profiles: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    current_directory: str = ""
    standard_input: bytes = b""
    readable: tuple[str, ...] = ()
    all_resources: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """A loaded project.

    Attributes:
        project: What `docker-compose config --format json` prints, and besides it extensions at every level, models,
            and keys the reference reads but does not print.
        project_directory: Absolute.
        files: The files it was loaded from, absolute.
        environment: Variables that were available, those of environment files included.
        marks: Where things stand: path such as `services.web.ports.0` → (file, line, column).
        values: Contents of secrets and configs that come from variables, by path such as `secrets.token`.
        warnings: What the user should know, each once.
        disabled: Services whose profile is not active.
        reader: Reads files that the project names, such as those of secrets and configs.
    """

    project: dict[str, Tree]
    project_directory: str
    files: tuple[str, ...]
    environment: Mapping[str, str]
    marks: Mapping[str, tuple[str, int, int]]
    values: Mapping[str, str]
    warnings: tuple[str, ...]
    disabled: tuple[str, ...]
    reader: Reader


def load(options: LoadOptions) -> Loaded:
    """Return the project that options describe.

    Raises:
        InvalidManifestError: If a file cannot be used; `errors` has every finding that is not a consequence of another.
    """
    return several.collect(lambda failed: _load(options, failed))


def _load(options: LoadOptions, failed: several.Failed) -> Loaded:
    current = options.current_directory or os.getcwd()
    directory, chosen, session, environment = _start(options, current)
    session.failed = failed
    sources = [_source(session, name, options, current) for name in chosen]
    name = _name(options, session, sources, directory, environment)
    environment["COMPOSE_PROJECT_NAME"] = name
    merged = model.load(session, layers.Scope(directory, environment), sources)
    if not merged:
        raise broken(Mark(sources[0].file, 0, 0), (), "the file is empty; write `services:` and the services below it")
    normal = normalise.normalise(merged, name, environment)
    binder = bind.Binder(session.problems, session.marks, sources[0].file, session.warn)
    project = {"services": {}, **binder.struct(normal, PROJECT, ())}
    session.problems.raise_any()
    disabled = _apply_profiles(project, discover.profiles_of(options.profiles, environment))
    consistency.check(project, frozenset(disabled), session.marks, sources[0].file, session.problems)
    for service in project["services"].values():
        if "scale" in service and "deploy" in service:
            service["deploy"]["replicas"] = service["scale"]
    service_variables.resolve(session, project["services"], environment, sources[0].file)
    session.problems.raise_any(final=True)
    if not options.all_resources:
        _drop_unused(project)
    return Loaded(
        project=_ordered(project),
        project_directory=directory,
        files=tuple(source.file for source in sources),
        environment=environment,
        marks={dotted(path): (mark.file, mark.line, mark.column) for path, mark in session.marks.items() if path},
        values=session.values,
        warnings=tuple(session.warnings),
        disabled=disabled,
        reader=session.reader,
    )


def _start(options: LoadOptions, current: str) -> tuple[str, list[str], layers.Session, dict[str, str]]:
    """Return the project directory, the files, a session that may read below the directory, and the variables."""
    given = {"PWD": current, **options.environment}
    env_files = list(options.env_files) or [name for name in given.get("COMPOSE_ENV_FILES", "").split(",") if name]
    home = given.get("HOME", "")
    first = discover.directory_of(list(options.files), options.project_directory, current)
    early = layers.Session(files.Reader((first,), home))
    environment = discover.variables(early, given, env_files, first, current)
    chosen = [name if name == discover.STANDARD_INPUT else files.absolute(name, current) for name in options.files]
    chosen = chosen or discover.files_of(environment, first, current, early)
    directory = discover.directory_of(chosen, options.project_directory, current)
    roots = (directory, *(files.absolute(root, current) for root in options.readable))
    session = layers.Session(files.Reader(roots, home), warnings=early.warnings)
    if directory != first:
        environment = discover.variables(session, environment, env_files, directory, current)
    return directory, chosen, session, environment


def _source(session: layers.Session, name: str, options: LoadOptions, current: str) -> model.Source:
    if name == discover.STANDARD_INPUT:
        return model.parsed(name, options.standard_input)
    return model.given(session, name, files.absolute(name, current))


def _name(
    options: LoadOptions,
    session: layers.Session,
    sources: list[model.Source],
    directory: str,
    environment: Mapping[str, str],
) -> str:
    if options.project_name:
        return discover.checked_name(options.project_name)
    if environment.get("COMPOSE_PROJECT_NAME"):
        return discover.checked_name(environment["COMPOSE_PROJECT_NAME"])
    written = ""
    problems = Problems()
    for source in sources:
        for doc in source.documents:
            value = session.failed.without(doc.value)
            found = value.get("name") if isinstance(value, dict) else None
            if isinstance(found, str) and found:
                written = found
                shape = Struct(fields={"name": PROJECT.fields["name"]})
                named = interpolate.interpolate(
                    {"name": found}, shape, environment, problems, doc.marks, source.file, session.warn
                )
                problems.raise_any()
                name = discover.plain_name(named["name"])
    if not written:
        name = discover.plain_name(directory.rsplit("/", 1)[1])
    if not name:
        raise broken(
            Mark(sources[0].file, 0, 0), (), "the project has no name; write `name: NAME`, or give one with -p NAME"
        )
    return name


def _apply_profiles(project: dict[str, Tree], active: tuple[str, ...]) -> tuple[str, ...]:
    services = project["services"]
    disabled = tuple(
        name
        for name, service in services.items()
        if service.get("profiles") and "*" not in active and not set(service["profiles"]) & set(active)
    )
    project["services"] = {name: service for name, service in services.items() if name not in disabled}
    return disabled


def _drop_unused(project: dict[str, Tree]) -> None:
    used: dict[str, set[str]] = {section: set() for section in _SECTIONS}
    for service in project["services"].values():
        used["networks"].update(service.get("networks") or {})
        used["models"].update(service.get("models") or {})
        used["volumes"].update(
            mount["source"]
            for mount in service.get("volumes") or []
            if mount["type"] == "volume" and mount.get("source")
        )
        used["configs"].update(item.get("source", "") for item in service.get("configs") or [])
        used["secrets"].update(item.get("source", "") for item in service.get("secrets") or [])
        used["secrets"].update(item.get("source", "") for item in service.get("build", {}).get("secrets") or [])
    for section in _SECTIONS:
        kept = {name: item for name, item in project.get(section, {}).items() if name in used[section]}
        if kept:
            project[section] = kept
        else:
            project.pop(section, None)


def _ordered(project: dict[str, Tree]) -> dict[str, Tree]:
    first = {"name": project["name"], "services": project["services"]}
    return {**first, **{key: value for key, value in project.items() if key not in first}}
