"""One module for each noun, as in the API."""
