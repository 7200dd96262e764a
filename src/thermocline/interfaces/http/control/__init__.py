"""Control routes, on FastAPI: listings, records, statistics, health, documentation."""
