"""HTTP: content routes close to the wire, control routes on FastAPI."""
