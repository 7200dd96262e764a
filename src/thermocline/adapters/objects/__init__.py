"""Object stores: memory, a folder."""
