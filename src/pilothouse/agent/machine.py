"""The life of one task on this node, as a pure function: no I/O, no clock, no logging."""
