"""Django's PostgreSQL back end with a pool that survives a restart and limits that hold behind PgBouncer."""
