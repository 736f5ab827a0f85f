"""The HTTP client of the API over a Unix socket: what commands, and other programs, talk to a server with."""
