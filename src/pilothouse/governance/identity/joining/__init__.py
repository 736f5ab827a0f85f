"""How a machine becomes a node: tokens, the limit on guessing them, and what a join changes. No sockets, no HTTP."""
