"""What the embedded instances are told: their settings, and who may connect as whom.

Source: architecture.md "Data at rest", attacks.md RLS-6, components.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

SUPERUSER: Final = "pw_superuser"
PORT: Final = 5432


class Roles(msgspec.Struct, frozen=True):
    """owner: the issuer's, owns the schema. reader: the gateway's, owns nothing."""

    owner: str
    reader: str


ROLES: Final = {
    "control": Roles("pw_control_owner", "pw_directory"),
    "data": Roles("pw_data_owner", "pw_app"),
}

QUIET: Final = {
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "log_min_duration_statement": "-1",
    "log_min_duration_sample": "-1",
    "log_transaction_sample_rate": "0",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
"""Settings without which a server writes its clients' statements or values into its log."""


def files(instance: str, user: str, socket_dir: Path) -> dict[str, str]:
    """Return the configuration files by name. user: the system user that the instance runs as."""
    roles = ROLES[instance]
    return {
        "postgresql.conf": "".join(f"{name} = {value}\n" for name, value in _settings(socket_dir).items()),
        "pg_hba.conf": (
            f"local all {SUPERUSER} peer map=partywall\nlocal {instance} {roles.owner},{roles.reader} scram-sha-256\n"
        ),
        "pg_ident.conf": f'partywall "{user}" {SUPERUSER}\n',
        "postgresql.auto.conf": "",
    }


def _settings(socket_dir: Path) -> dict[str, str]:
    folder = str(socket_dir).replace('"', '""').replace("'", "''")
    return {
        "listen_addresses": "''",
        "unix_socket_directories": f"'\"{folder}\"'",
        "unix_socket_permissions": "0770",
        "port": str(PORT),
        "password_encryption": "scram-sha-256",
        "max_connections": "48",
        # Small: the idle platform, all processes together, stays below 400 MB.
        "shared_buffers": "32MB",
        "work_mem": "4MB",
        "maintenance_work_mem": "32MB",
        "temp_buffers": "1MB",
        "wal_buffers": "1MB",
        "max_wal_size": "256MB",
        "min_wal_size": "16MB",
        "huge_pages": "off",
        "io_method": "sync",
        "max_worker_processes": "2",
        "max_parallel_workers": "0",
        "max_parallel_workers_per_gather": "0",
        "max_logical_replication_workers": "0",
        "autovacuum_max_workers": "1",
        "autovacuum_worker_slots": "2",
        "jit": "off",
        # No replica yet, so WAL need not carry what only a replica reads.
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "timezone": "'UTC'",
        "log_timezone": "'UTC'",
        "lc_messages": "'C'",
        "idle_in_transaction_session_timeout": "'30s'",
        # An error's text quotes values, a crash's detail quotes the statement, and any role may turn on debug_print_*:
        # from a session only what ends it is logged.
        "log_destination": "stderr",
        "logging_collector": "off",
        "log_min_messages": "fatal",
        "log_error_verbosity": "terse",
        **QUIET,
        "log_checkpoints": "off",
        "log_connections": "''",
        "log_disconnections": "off",
        "log_lock_waits": "off",
        "log_temp_files": "-1",
        "log_autovacuum_min_duration": "-1",
        "log_line_prefix": "'%m [%p] '",
        # No session's statements are kept where another could see them.
        "track_activities": "off",
        "track_activity_query_size": "100",
    }
