"""The vocabulary: specs, objects, states, wire messages. Frozen values and pure functions, nothing that does I/O."""
