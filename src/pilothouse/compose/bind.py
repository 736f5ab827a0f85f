"""A merged, canonical document to a loaded project: every value in its final type, empty ones left out.

The result has the keys and values that the reference prints as JSON, and besides them what it knows but does not
print: extensions (`x-…`) at every level and the keys marked silent. `render` leaves those out again where it must.
"""

from collections.abc import Callable

from pilothouse.compose import codecs
from pilothouse.compose.problems import Marks, Path, Problems, nearest
from pilothouse.compose.shapes import Field, Listing, Named, Pairs, Scalar, Shape, Struct, Tree, Words


class Binder:
    """Binds values; what cannot be bound becomes a problem at its place."""

    def __init__(self, problems: Problems, marks: Marks, file: str, warn: Callable[[str], None]) -> None:
        self._problems = problems
        self._marks = marks
        self._file = file
        self._warn = warn

    def struct(self, value: Tree, shape: Struct, path: Path) -> dict[str, Tree]:
        """Return a structure with its known keys in table order, and extensions after them."""
        bound: dict[str, Tree] = {}
        for key, field in shape.fields.items():
            if key in value:
                result = self.value(value[key], field.shape, (*path, key))
            elif field.always:
                result = _nothing(field)
            else:
                continue
            if field.always or not _omitted(result, field.shape):
                bound[field.out or key] = _nothing(field) if result is None else result
        if shape.extensions:
            bound.update((key, value[key]) for key in sorted(value) if key.startswith("x-"))
        return bound

    def value(self, value: Tree, shape: Shape, path: Path) -> Tree:
        """Return value in its loaded form, or None for nothing."""
        try:
            return self._value(value, shape, path)
        except (ValueError, OverflowError) as error:
            self._problems.add(nearest(self._marks, path, self._file), path, str(error))
            return None

    def _value(self, value: Tree, shape: Shape, path: Path) -> Tree:
        if isinstance(shape, Scalar):
            return None if value is None and shape.keep else codecs.SCALARS[shape.codec](value, self._warn)
        if isinstance(shape, Words):
            return codecs.command(value, shape.codec, self._warn)
        if isinstance(shape, Named):
            return self._named(value or {}, shape, path)
        return None if value is None else self._filled(value, shape, path)

    def _filled(self, value: Tree, shape: Shape, path: Path) -> Tree:
        if isinstance(shape, Struct):
            return self.struct(value, shape, path) if isinstance(value, dict) else self._short(value, shape)
        if isinstance(shape, Listing):
            items = value if isinstance(value, list) else [value]
            return [self.value(item, shape.item, (*path, index)) for index, item in enumerate(items)]
        if isinstance(shape, Pairs):
            return codecs.pairs(value, shape)
        raise AssertionError(f"no rule for the shape of {path}")

    def _short(self, value: Tree, shape: Struct) -> Tree:
        """Return a short form that survives loading: a limit that is one number, `external: true`."""
        return codecs.SCALARS[shape.plain](value, self._warn) or ({} if shape.plain == "whole" else False)

    def _named(self, value: Tree, shape: Named, path: Path) -> dict[str, Tree]:
        return {key: self.value(item, shape.value, (*path, key)) for key, item in sorted(value.items())}


def _nothing(field: Field) -> Tree:
    shape = field.shape
    if isinstance(shape, Struct):
        return {key: _nothing(inner) for key, inner in shape.fields.items() if inner.always}
    if isinstance(shape, Scalar):
        return codecs.KEPT_ZEROS.get(shape.codec)
    return None


def _omitted(value: Tree, shape: Shape) -> bool:
    if value is None:
        return True
    if isinstance(shape, Scalar):
        return not shape.keep and (not value or value in codecs.ZEROS.get(shape.codec, ()))
    if isinstance(shape, Struct):
        return not isinstance(value, dict) and not value
    return not value
