"""Real servers for tests and for a developer's stack: on loopback, on free ports, ended by their ids."""
