"""The back end that `DATABASES` names: see `pool` for its pool.

Limits of the server (`idle_in_transaction_session_timeout`, `statement_timeout`, `lock_timeout`; in ms) are given in
OPTIONS["limits"]. They are set inside each transaction, in the message that opens it. PgBouncer in transaction mode
refuses them as start-up options, and would keep a setting of the session for the next client of the server connection.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from django.db.backends.utils import debug_transaction

from tasks_app.postgresql.pool import Pool
from tasks_app.postgresql.statements import within_limits

POOL, LIMITS = "pool", "limits"


class DatabaseWrapper(base.DatabaseWrapper):
    """One thread's connection."""

    _connection_pools: ClassVar[dict[str, Pool]] = {}

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.limits: dict[str, int] = self.settings_dict["OPTIONS"].setdefault(LIMITS, {})
        """The limits of this process, in ms; a change holds from the next transaction on."""
        self.execute_wrappers.append(self._limited)

    @property
    def pool(self) -> Pool | None:
        """The pool of this process; None where OPTIONS["pool"] asks for none."""
        options = self.settings_dict["OPTIONS"].get(POOL)
        if self.alias == NO_DB_ALIAS or not options:
            return None
        return self._connection_pools.get(self.alias) or self._connection_pools.setdefault(
            self.alias, Pool(self._connect, **options)
        )

    def _connect(self) -> Any:
        connection = self.Database.connect(**{**self.get_connection_params(), "autocommit": True})
        try:
            self._configure_connection(connection)  # type: ignore[attr-defined]  # the time zone and role, as Django does
        except BaseException:
            connection.close()  # else the session would last as long as anybody holds the error
            raise
        return connection

    def get_connection_params(self) -> dict[str, Any]:
        """Return what libpq is given: without our limits."""
        found: dict[str, Any] = super().get_connection_params()
        found.pop(LIMITS, None)
        return found

    def _start_transaction_under_autocommit(self) -> None:
        """Begin a transaction and set its limits in one message to the server; Django's atomic() calls this."""
        limits = "".join(f"; SET LOCAL {name} = {int(value)}" for name, value in self.limits.items())
        with debug_transaction(self, "BEGIN"), self.wrap_database_errors:
            self.connection.execute(f"BEGIN{limits}")

    def _limited(self, execute: Callable[..., Any], sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        with within_limits(self):
            return execute(sql, params, many, context)
