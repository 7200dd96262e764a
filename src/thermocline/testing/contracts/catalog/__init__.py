"""Laws of the catalog's ports, one suite a port. An adapter passes them by providing one fixture, `open_catalog`."""
