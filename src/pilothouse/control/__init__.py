"""The loops that turn desired state into tasks: each reads the store, decides purely, writes only its own fields."""
