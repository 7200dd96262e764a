"""The catalog in SQL, through SQLAlchemy Core: SQLite embedded, PostgreSQL for fleets."""
