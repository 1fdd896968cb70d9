"""I/O. Postgres: embedded or external, migrations, the tenant token, leaves, the directory."""
