"""Who may do what, and what was done: identity, policy, audit, secrets. Rules are pure; nothing here starts a task."""
