"""Environment files: `NAME=value` lines with comments, quotes, escapes, variables and values over several lines.

A pure function of the text. A name without `=` takes its value from the caller, or is left out.
"""

import re
from collections.abc import Mapping

from pilothouse.compose.interpolate import TemplateError, substitute

_SPACES = "\t\v\f\r \x85\xa0"
_EXPORT = re.compile(r"export[\t\n\v\f\r ]+")
_ESCAPE = re.compile(r'\\(?:[abcfnrtv$"\\]|0[0-9]{0,3})')
_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    '"': '"',
    "$": "$$",
}
_NAME_SIGNS = "_.-[]"


class DotenvError(ValueError):
    """A line that cannot be read; `line` counts from 1."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str, known: Mapping[str, str], found: dict[str, str]) -> None:
    """Add the variables in text to found.

    Args:
        known: Variables that win over those in the file when a value refers to one.
        found: Variables of earlier files; values may refer to them, and they are overwritten.

    Raises:
        DotenvError: If a line is not understood.
    """
    _Reader(text.removeprefix("\ufeff"), known, found).read()


def parse_raw(text: str, known: Mapping[str, str], found: dict[str, str]) -> None:
    """Add the variables in text to found, taking every character after `=` as it is.

    Raises:
        DotenvError: If a name is empty or has a space in it.
    """
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        line = raw.removesuffix("\r").lstrip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not name or any(sign.isspace() for sign in name):
            raise DotenvError(number, f"{name!r} is not a variable name; write NAME=value")
        if equals:
            found[name] = value
        elif name in known:
            found[name] = known[name]


class _Reader:
    def __init__(self, text: str, known: Mapping[str, str], found: dict[str, str]) -> None:
        self._text = text
        self._known = known
        self._found = found
        self._at = 0

    def read(self) -> None:
        while self._next_statement():
            name, has_value = self._name()
            if not has_value:
                value = self._lookup(name)
                if value is not None:
                    self._found[name] = value
                continue
            self._found[name] = self._value()

    def _next_statement(self) -> bool:
        """Move to the next line that says something; return whether there is one."""
        while True:
            while self._at < len(self._text) and self._text[self._at].isspace():
                self._at += 1
            if self._at >= len(self._text):
                return False
            if self._text[self._at] != "#":
                return True
            end = self._text.find("\n", self._at)
            if end < 0:
                return False
            self._at = end

    def _name(self) -> tuple[str, bool]:
        if found := _EXPORT.match(self._text, self._at):
            self._at = found.end()
        start = self._at
        for index in range(start, len(self._text)):
            sign = self._text[index]
            if sign in "=:\n":
                self._at = index + 1
                name = self._text[start:index].rstrip()
                self._check(name, start)
                self._skip_spaces()
                return name, sign != "\n"
            if sign not in _SPACES and sign not in _NAME_SIGNS and not sign.isalnum():
                line = self._text[start:].split("\n", 1)[0]
                raise DotenvError(
                    self._line(start), f"unexpected character {sign!r} in the variable name {line!r}; write NAME=value"
                )
        name = self._text[start:].rstrip()
        if not name:
            raise DotenvError(self._line(start), "`export` names no variable; write export NAME=value")
        self._check(name, start)
        self._at = len(self._text)
        return name, False

    def _check(self, name: str, start: int) -> None:
        if " " in name:
            raise DotenvError(self._line(start), f"the variable name {name!r} has a space in it; write NAME=value")

    def _value(self) -> str:
        quote = self._text[self._at : self._at + 1]
        if quote in {'"', "'"}:
            return self._quoted(quote)
        start = self._at
        end = self._text.find("\n", start)
        end = len(self._text) if end < 0 else end
        self._at = min(end + 1, len(self._text))
        line = self._text[start:end]
        return self._expand(line.split(" #", 1)[0].rstrip(), start)

    def _quoted(self, quote: str) -> str:
        start = self._at
        out: list[str] = []
        index = start + 1
        while index < len(self._text):
            sign = self._text[index]
            if sign == "\\" and index + 1 < len(self._text):
                following = self._text[index + 1]
                out.append(following if following == quote else "\\" + following)
                index += 2
                continue
            if sign == quote:
                self._at = index + 1
                value = "".join(out)
                return self._expand(_ESCAPE.sub(_unescape, value), start) if quote == '"' else value
            out.append(sign)
            index += 1
        raise DotenvError(self._line(start), f"the value has no closing {quote}; add it")

    def _expand(self, value: str, start: int) -> str:
        try:
            return substitute(value, self._lookup, lambda _: None)
        except TemplateError as error:
            raise DotenvError(self._line(start), str(error)) from None

    def _lookup(self, name: str) -> str | None:
        return self._known[name] if name in self._known else self._found.get(name)

    def _skip_spaces(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _SPACES:
            self._at += 1

    def _line(self, at: int) -> int:
        return self._text.count("\n", 0, at) + 1


def _unescape(found: re.Match[str]) -> str:
    body = found[0][1:]
    if body[0] != "0":
        return _ESCAPES.get(body, found[0])
    digits = body[1:]
    if len(digits) == 3 and all(digit in "01234567" for digit in digits) and int(digits, 8) < 256:
        return chr(int(digits, 8))
    return found[0]
