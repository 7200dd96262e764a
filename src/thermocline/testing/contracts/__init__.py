"""Contract suites: one per port; adding an adapter costs one fixture."""
