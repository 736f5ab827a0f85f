"""The manager process: HTTP API, agent sessions, views, and the composition root."""
