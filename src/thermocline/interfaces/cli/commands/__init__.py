"""The commands, one file for each group that shares its subject."""
