# Aliases; a fresh machine has no make, and needs none.
.PHONY: demo setup check test
demo setup check test:
	@scripts/$@
