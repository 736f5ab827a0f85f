"""What tasks wrote: live from the engine, and kept after the container is gone."""
