"""`python -m pilothouse`: the same program as the `pilothouse` command."""

from pilothouse.cli.main import main

if __name__ == "__main__":
    main()
