"""Pack orders as they come in."""

import signal
import sys
import time

sys.path.insert(0, "/app")
from database import connect

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
connection = connect()
print("waiting for orders", flush=True)
while True:
    with connection.cursor() as cursor:
        cursor.execute("UPDATE orders SET packed = now() WHERE packed IS NULL RETURNING id")
        for (number,) in cursor.fetchall():
            print(f"packed order {number}", flush=True)
    time.sleep(0.5)
