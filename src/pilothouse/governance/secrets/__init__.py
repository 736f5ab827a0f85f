"""Contents of secrets at rest: sealed under one key that lives beside the store, never in it."""
