"""How people and programs reach a store: HTTP and the command line."""
