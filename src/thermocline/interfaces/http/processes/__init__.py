"""One service of several processes: they share a port and a catalog, and answer for one another."""
