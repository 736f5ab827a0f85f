"""What a task needs before it can be placed: host ports today, addresses later."""
