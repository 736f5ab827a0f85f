"""The embedded store: SQLite with group commit, durable before it acknowledges."""
