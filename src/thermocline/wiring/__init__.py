"""From settings to running services: the only place that sees both services and adapters."""
