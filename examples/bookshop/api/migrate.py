"""Bring the schema up to date, then end: everything else waits for this to succeed."""

from database import connect

with connect() as connection, connection.cursor() as cursor:
    cursor.execute(
        "CREATE TABLE IF NOT EXISTS orders"
        " (id serial PRIMARY KEY, placed timestamptz DEFAULT now(), packed timestamptz)"
    )
print("schema is up to date", flush=True)
