"""One node: it is told whole assignments, makes its engine match them, and reports what it sees. It never sees the
store, a manifest or another node."""
