"""The driver for Docker Engine and for Podman's socket that speaks the same language. Who belongs here: the request
builder (`body`, pure), the reader of answers (`answers`, pure), what the two engines differ in (`dialect`), and the
thin calls between them. Nobody else speaks HTTP to an engine."""
