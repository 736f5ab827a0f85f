"""A store in this process's memory: the reference backend."""
