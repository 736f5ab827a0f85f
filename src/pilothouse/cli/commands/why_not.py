"""`pilothouse why-not`: what every rule says of a service and a node."""

import click

from pilothouse.cli import options, output
from pilothouse.cli.command import command
from pilothouse.errors import InvalidRequestError
from pilothouse.model.placement_api import WhyNot


@command(
    "why-not",
    examples=[
        ("pilothouse why-not shop/web node2", "whether one more task of shop/web could go to node2"),
        ("pilothouse why-not web node2", "the service of the app in this directory"),
    ],
)
@options.as_json
@click.argument("service")
@click.argument("node")
def why_not(*, as_json: bool, service: str, node: str) -> None:
    """Say why one more task of a service could go to a node, or could not: what every rule says.

    SERVICE is APP/SERVICE, or a service of the app whose Compose file is in this directory. If a task of it waits for
    a place, it is that one that is asked about.
    """
    app, slash, name = service.rpartition("/")
    if slash and not (app and name):
        raise InvalidRequestError(f"{service!r} is no service; write APP/SERVICE")
    found = options.client().why_not(app or options.app_name(""), name, node)
    if as_json:
        output.json(found)
        return
    for text in lines(found):
        output.line(text)


def lines(found: WhyNot) -> list[str]:
    """Return what a person reads."""
    rows = [(answer.rule, "yes" if answer.kept else "no", answer.sentence) for answer in found.answers]
    return [found.sentence, "", *output.format_table(("RULE", "KEPT", "WHY NOT"), rows)]
