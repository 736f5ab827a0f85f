"""Who may do what, and the proof: identity, policy, audit, secrets. It decides and records; it never touches a task."""
