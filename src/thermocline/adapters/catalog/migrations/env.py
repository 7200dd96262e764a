"""Alembic's entry: runs the migrations on the connection, and in the transaction, that `migrating` prepared."""

from alembic import context

from thermocline.adapters.catalog.schema import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
