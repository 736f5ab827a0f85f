"""Who is calling, as a value every handler needs; and what a caller may do. No sessions, no HTTP."""
