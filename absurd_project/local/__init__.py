"""The private system of one machine: PostgreSQL, Valkey, and the processes that are kept running together."""
