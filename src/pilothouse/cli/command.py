"""What a command of ours is: found by name when it is needed, and explained with examples and exit codes."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

EXIT_DONE = 0
EXIT_ROLLED_BACK = 1
EXIT_FAILED = 2
EXIT_REFUSED = 3

COMMON_EXITS = {
    EXIT_DONE: "done",
    EXIT_FAILED: "failed: the server, the engine or the app did not do it",
    EXIT_REFUSED: "refused: the arguments, the manifest or a policy do not allow it",
}


class Command(click.Command):
    """A command whose help ends with examples and exit codes.

    Attributes:
        examples: (command line, what it does) pairs.
        exits: Exit code to meaning.
    """

    def __init__(
        self,
        *args: Any,  # noqa: ANN401 - click's own arguments, passed on as they are
        examples: Sequence[tuple[str, str]] = (),
        exits: Mapping[int, str] | None = None,
        **kwargs: Any,  # noqa: ANN401 - click's own arguments, passed on as they are
    ) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.exits = dict(COMMON_EXITS) | dict(exits or {})

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the exit codes below the options."""
        if self.examples:
            with formatter.section("Examples"):
                for line, meaning in self.examples:
                    formatter.write_text(line)
                    with formatter.indentation():
                        formatter.write_text(meaning)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), meaning) for code, meaning in sorted(self.exits.items())])
        super().format_epilog(ctx, formatter)


def command(
    name: str,
    *,
    examples: Sequence[tuple[str, str]],
    exits: Mapping[int, str] | None = None,
    group: click.Group | None = None,
) -> Callable[[Callable[..., int | None]], Command]:
    """Return a decorator that makes a function a command; its docstring is the description, first sentence the summary.

    Args:
        name: What the user types.
        examples: (command line, what it does) pairs, in the order to learn them.
        exits: Exit codes whose meaning differs from the common ones.
        group: Where to hang it, unless the table of the main program names it.
    """

    def wrap(function: Callable[..., int | None]) -> Command:
        made = click.command(name, cls=Command, examples=examples, exits=exits)(function)
        if group is not None:
            group.add_command(made)
        return made

    return wrap


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is asked for.

    Attributes:
        table: Command name to "MODULE:OBJECT", in the order of the help.
    """

    def __init__(self, *args: Any, table: Mapping[str, str], **kwargs: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **kwargs)
        self.table = dict(table)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its whole summary."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(limit=200)) for name, each in found if each])

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return [*self.table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return the command, or None if there is none of that name."""
        if cmd_name not in self.table:
            return super().get_command(ctx, cmd_name)
        module, _, name = self.table[cmd_name].partition(":")
        found = getattr(importlib.import_module(module), name)
        if not isinstance(found, click.Command):
            raise TypeError(f"{self.table[cmd_name]} is no command")
        return found
