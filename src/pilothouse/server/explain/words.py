"""How times and lists are said in explanations."""

from pilothouse.control.orchestrators.endings import duration


def since(at: float, now: float) -> str:
    """Return "for 3 min"; "" if the time is not known."""
    return f"for {duration(max(0.0, now - at))}" if at else ""


def ago(at: float | None, now: float) -> str:
    """Return "3 min ago"; "at an unknown time" if it is not known."""
    return f"{duration(max(0.0, now - at))} ago" if at else "at an unknown time"


def some(items: list[str], most: int = 5) -> str:
    """Return the items in one clause: "a, b and c", with a count instead of too many; "nothing" for none."""
    if not items:
        return "nothing"
    shown = items[:most]
    rest = len(items) - len(shown)
    if rest:
        return f"{', '.join(shown)} and {rest} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def sentence(*clauses: str) -> str:
    """Return the clauses that are not empty as one sentence: joined by "; ", a capital first, a full stop last."""
    text = "; ".join(clause.rstrip(".") for clause in clauses if clause)
    return f"{text}."
