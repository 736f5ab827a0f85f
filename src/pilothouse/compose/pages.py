"""Reference pages made from tables and examples: scripts/docs writes them, a test keeps them up to date."""

import importlib.resources
import pathlib
import sys
import typing
from collections.abc import Iterator, Mapping

import msgspec

from pilothouse.compose.classes import KeyClass, Verdict
from pilothouse.compose.project_classes import CONFIG, NETWORK, NETWORK_BELOW, PROJECT, SECRET, VOLUME
from pilothouse.compose.service_classes import SERVICE, SERVICE_BELOW
from pilothouse.compose.x_pilothouse import (
    KEY,
    LATER,
    AppBlock,
    CutOffBlock,
    PlacementBlock,
    ProbeBlock,
    ReleaseBlock,
    TogetherBlock,
    TrafficBlock,
    struct_in,
)

_MADE = "<!-- Made by scripts/docs; change {source} instead. -->\n"
_CLASS_MEANING = {
    KeyClass.HONOURED: "works as written",
    KeyClass.CARE: "works, and means something particular on a platform",
    KeyClass.GRANT: "works once a recorded grant allows it; `pilothouse up` prints the command",
    KeyClass.LAPTOP: "means something at a person's own machine only; ignored",
    KeyClass.WINDOWS: "is for Windows containers; ignored with a warning",
    KeyClass.REFUSED: "`pilothouse up` refuses the file and says what to write instead",
}


def pages() -> dict[str, str]:
    """Return every made page of docs/reference, by file name."""
    return {"compose-keys.md": compose_keys(), "x-pilothouse.md": x_pilothouse()}


def compose_keys() -> str:
    """Return the page with the class of every key."""
    counted = {kind: sum(v.key_class is kind for v in SERVICE.values()) for kind in KeyClass}
    lines = [
        "# What becomes of each Compose key",
        "",
        _MADE.format(source="src/pilothouse/compose/*_classes.py"),
        "`pilothouse compat FILE` prints these verdicts for the keys a file uses, with their places. A value can",
        "change the verdict of its key (`network_mode: host` needs a grant, `none` does not); the command knows.",
        "",
        "| class | what it means | service keys |",
        "|---|---|---|",
        *(f"| {kind.value} | {meaning} | {counted[kind]} |" for kind, meaning in _CLASS_MEANING.items()),
        "",
        *_table("Top-level keys", PROJECT),
        *_table("Service keys", SERVICE),
        *_table("Below service keys, where the class is another", SERVICE_BELOW),
        *_table("Networks", {**NETWORK, **NETWORK_BELOW}),
        *_table("Volumes", VOLUME),
        *_table("Secrets", SECRET),
        *_table("Configs", CONFIG),
    ]
    return "\n".join(lines).rstrip() + "\n"


def x_pilothouse() -> str:
    """Return the page made from the commented example, with every field, its type and its default."""
    lines = [
        f"# `{KEY}`",
        "",
        _MADE.format(source="src/pilothouse/compose/docs/x-pilothouse.yml"),
        *_woven(example()),
        "## Every field",
        "",
        "| field | type | if not written |",
        "|---|---|---|",
        *(f"| `{path}` | {kind} | {default} |" for path, kind, default in fields()),
        "",
        "Refused until a release honours them: " + ", ".join(f"`{name}`" for name in sorted(LATER)) + ".",
    ]
    return "\n".join(lines) + "\n"


def example() -> str:
    """Return the commented example."""
    return importlib.resources.files("pilothouse.compose").joinpath("docs", "x-pilothouse.yml").read_text()


def fields() -> Iterator[tuple[str, str, str]]:
    """Yield path, type and default of every field of `x-pilothouse`; fields that are alike stand once."""
    yield from _fields(AppBlock, KEY)
    for name in ("startup", "live", "ready"):
        yield f"services.NAME.{KEY}.probes.{name}", "PROBE", "not asked"
    yield from _fields(TrafficBlock, f"services.NAME.{KEY}.traffic")
    yield from _fields(ReleaseBlock, f"services.NAME.{KEY}.release")
    yield from _fields(PlacementBlock, f"services.NAME.{KEY}.placement")
    yield f"services.NAME.{KEY}.cut_off", "text", "by what it does"
    yield from _fields(CutOffBlock, f"services.NAME.{KEY}.cut_off")
    yield from _fields(ProbeBlock, "PROBE")
    yield from _fields(TogetherBlock, "TOGETHER")


def _fields(block: type[msgspec.Struct], path: str) -> Iterator[tuple[str, str, str]]:
    for field in msgspec.structs.fields(block):
        where = f"{path}.{field.encode_name}"
        below = struct_in(field.type)
        if below is TogetherBlock:
            yield f"{where}[]", "TOGETHER", "none"
        elif below is not None:
            yield from _fields(below, f"{where}[]" if typing.get_origin(field.type) is tuple else where)
        else:
            yield where, _type_name(field.type), _default(field)


def _type_name(kind: object) -> str:
    names = {
        str: "text",
        int: "number",
        bool: "`true` or `false`",
        int | str: "number or text",
        dict[str, int | str]: "names and percentages",
        float | str: "number or text",
        dict[str, str]: "names and texts",
        tuple[str, ...]: "list of texts",
    }
    return names[kind]  # type: ignore[index]  # annotations are hashable; a new kind of field fails here, loudly


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "is required"
    if field.default is msgspec.NODEFAULT:
        return "none"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default}`" if field.default != "" else "none"


def _table(title: str, verdicts: Mapping[str, Verdict]) -> Iterator[str]:
    yield from (f"## {title}", "", "| key | class | what happens, or why not | what to do |", "|---|---|---|---|")
    for key in sorted(verdicts):
        verdict = verdicts[key]
        grants = f" (grant: {', '.join(f'`{g}`' for g in verdict.grants)})" if verdict.grants else ""
        reason, advice = (text.replace("|", "\\|") for text in (verdict.reason, verdict.advice))
        yield f"| `{key}` | {verdict.key_class.value} | {reason}{grants} | {advice} |"
    yield ""


def _woven(text: str) -> Iterator[str]:
    """Yield comment blocks at the margin as prose and everything between them as code."""
    code: list[str] = []
    for line in [*text.splitlines(), "#"]:
        if not line.startswith("#"):
            code.append(line)
            continue
        if any(code):
            yield from ("", "```yaml", *"\n".join(code).strip("\n").splitlines(), "```", "")
        code = []
        yield line.removeprefix("#").removeprefix(" ")


def main(directory: str) -> None:
    """Write every page below *directory*."""
    for name, text in pages().items():
        pathlib.Path(directory, name).write_text(text)


if __name__ == "__main__":
    main(sys.argv[1])
