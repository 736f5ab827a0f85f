"""Questions about where tasks go or would go, answered from a snapshot by the scheduler's own rules."""
