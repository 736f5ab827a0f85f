"""Objects as people see them: what the API answers, made from a snapshot by pure functions."""
