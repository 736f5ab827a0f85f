"""A deployment: checked, resolved, planned as data, and written in one transaction. Starts and stops nothing itself."""
