"""One connection to the shop's database, with the password from the secret's file."""

import os
import pathlib

import psycopg2


def connect():
    """Return an open connection in autocommit mode."""
    connection = psycopg2.connect(
        host=os.environ["DB_HOST"],
        user=os.environ["DB_USER"],
        dbname=os.environ["DB_NAME"],
        password=pathlib.Path("/run/secrets/db_password").read_text(encoding="utf-8").strip(),
        connect_timeout=3,
    )
    connection.autocommit = True
    return connection
