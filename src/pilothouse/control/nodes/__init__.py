"""Whether nodes are there, and what happens to their tasks when they are not."""
