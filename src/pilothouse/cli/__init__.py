"""The `pilothouse` command: commands speak HTTP; only `run` knows server and agent."""
