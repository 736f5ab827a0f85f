"""Named volumes, and the memory-backed files that secrets and configs are given as."""
