"""The images on a node: which are used, which must stay, and removing the others when room is scarce."""
