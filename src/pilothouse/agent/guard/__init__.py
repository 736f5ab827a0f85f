"""The guard: a small process of the host that kills what must not run twice, when the node's lease has ended."""
