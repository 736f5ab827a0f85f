"""What a manifest may ask for, and the grants that widen it."""
