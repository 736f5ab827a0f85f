"""The proxy on this node: published ports listened on once for all tasks of a service."""
