"""Container engines behind one small contract. Who belongs here: drivers, their pure request builders, the fake."""
