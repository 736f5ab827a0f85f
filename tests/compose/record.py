"""Write down what the reference prints for the documents in tests/fixtures/compose/single.

Run it when one of them changes: `.venv/bin/python -m tests.compose.record`. The fast tests compare with what is written
down; a slow test checks that it is still what the reference prints.
"""

from tests.compose.test_against_reference import FIXTURES, SINGLE, VARIABLES, theirs

DIRECTORY = "/project"
RECORDED = FIXTURES / "recorded"


def printed(path, output):
    """Return what the reference prints for a document that stands in /project."""
    text, why = theirs(FIXTURES, VARIABLES, output, files=[path], project_directory=DIRECTORY)
    if text is None:
        raise SystemExit(f"{path.name}: {why}")
    return text


def recorded(path, output):
    """Return the file that holds what the reference printed."""
    return RECORDED / f"{path.stem}.{output}"


def main():
    RECORDED.mkdir(exist_ok=True)
    for path in SINGLE:
        for output in ("json", "yaml"):
            recorded(path, output).write_text(printed(path, output))


if __name__ == "__main__":
    main()
