"""Layers: the same port around a port."""
