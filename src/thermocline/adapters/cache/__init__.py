"""Caches: memory."""
