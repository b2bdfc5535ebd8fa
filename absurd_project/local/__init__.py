"""The private system of one machine: PostgreSQL, Valkey, and the supervisor of its processes."""
