"""Tasks to nodes, with the reason for every refusal."""
