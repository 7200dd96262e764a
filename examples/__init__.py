"""Examples, each of them tested."""
