"""Ports implemented over real parts. Nothing here is imported by services: only wiring sees both."""
