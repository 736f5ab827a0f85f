"""`pilothouse check`: is the platform's own state intact?"""

from pilothouse.cli import options, output
from pilothouse.cli.command import EXIT_DONE, EXIT_FAILED, command


@command(
    "check",
    examples=[("pilothouse check", "have the running server check its store")],
    exits={EXIT_FAILED: "the store is damaged, or the server did not answer"},
)
@options.as_json
def check(*, as_json: bool) -> int:
    """Check the integrity of the platform's own state while the server runs."""
    found = options.client().check()
    if as_json:
        output.json(found)
    else:
        output.line(("ok: " if found.ok else "damaged: ") + found.message)
    return EXIT_DONE if found.ok else EXIT_FAILED
