"""The history of the schema, applied by `migrating`. Alembic finds `env.py` and `versions` by their paths."""
