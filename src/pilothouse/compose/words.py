"""A command line in one string, split into words as the reference implementation does it: no shell, no variables."""

_SPACES = " \t\r\n"
_ENDS = ";&|<>"
_ADVICE = "write it as a list, or give it to a shell: [sh, -c, '…']"


def split(line: str) -> tuple[list[str], str]:
    """Return the words of line, and what was cut off because only a shell could read it ("" is nothing).

    Raises:
        ValueError: If a quote, a backquote or a bracket is not closed.
    """
    splitter = _Splitter(line)
    return splitter.words(), splitter.rest


class _Splitter:
    def __init__(self, line: str) -> None:
        self.rest = ""
        self._line = line
        self._words: list[str] = []
        self._buffer = ""
        self._started = False
        self._escaped = False
        self._quote = ""
        # A backquote is no quote to the reference: what stands between two of them is still unquoted by ' and ".
        self._backquoted = False

    def words(self) -> list[str]:
        for index, sign in enumerate(self._line):
            if self._escaped:
                self._after_backslash(sign)
            elif sign == "\\":
                self._escaped = self._quote != "'"
                self._buffer += "" if self._escaped else sign
            elif sign in _SPACES:
                self._space(sign)
            elif not self._quote and not self._backquoted and sign in _ENDS:
                self._end(sign, index)
                break
            else:
                self._sign(sign)
        if self._started:
            self._words.append(self._buffer)
        if self._escaped or self._quote or self._backquoted:
            raise ValueError(f"{self._line!r} is not a complete command line; {_ADVICE}")
        return self._words

    def _end(self, sign: str, index: int) -> None:
        if sign == ">" and self._buffer.isascii() and self._buffer.isdigit():
            self._started = False
        self.rest = self._line[index:]

    def _after_backslash(self, sign: str) -> None:
        self._escaped = False
        self._started = True
        self._buffer += sign

    def _space(self, sign: str) -> None:
        if self._quote or self._backquoted:
            self._buffer += sign
        elif self._started:
            self._words.append(self._buffer)
            self._buffer, self._started = "", False

    def _sign(self, sign: str) -> None:
        if sign in {'"', "'"} and self._quote in {"", sign}:
            self._started = self._started or self._quote == sign
            self._quote = "" if self._quote else sign
            return
        if sign == "`" and not self._quote:
            self._backquoted = not self._backquoted
        elif sign == "(" and self._quote in {"", ")"} and not self._backquoted:
            if self._quote or not self._buffer.endswith("$"):
                raise ValueError(f"{self._line!r} has a bracket that only a shell can read; {_ADVICE}")
            self._quote = ")"
            self._buffer += sign
            return
        elif sign == ")" and self._quote in {"", ")"} and not self._backquoted:
            # The reference takes a closing bracket alone for the start of a quoted part that the next one ends.
            self._quote = "" if self._quote else sign
        self._buffer += sign
        self._started = True
