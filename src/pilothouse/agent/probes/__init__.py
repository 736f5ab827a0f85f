"""Questions to a running task. Who belongs here: when to ask, how to ask, what the answers mean together."""
