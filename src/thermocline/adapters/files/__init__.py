"""Trees of files outside the store."""
