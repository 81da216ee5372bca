"""The queue in the SQL database: SQLite, or PostgreSQL with ``FOR UPDATE SKIP LOCKED``."""
