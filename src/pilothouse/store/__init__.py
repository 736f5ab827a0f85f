"""Where desired and observed state lives: one contract, several backends. Who belongs here: backends and their tests'
conformance suite. Nothing here decides anything about apps."""
