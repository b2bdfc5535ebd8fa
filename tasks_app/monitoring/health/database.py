"""Checks of the database: answers, writes, schema, counts, vacuum, events and clock."""

from __future__ import annotations

import time
from functools import lru_cache

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from tasks_app import feed, formats
from tasks_app.formats import without_passwords
from tasks_app.monitoring import database as server
from tasks_app.monitoring import queues
from tasks_app.monitoring.health.checks import Check, bad, counted, fault, ok, threshold, warn, within
from tasks_app.postgresql import clock


def connect_outside_the_pool() -> None:
    """Give this thread a connection of its own, because an exhausted pool is not a fault of the database.

    Raises OperationalError.
    """
    own = connection.copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    own.settings_dict["OPTIONS"] |= {
        "connect_timeout": max(2, int(threshold("limit_sec"))),
        "application_name": "absurd health",
    }
    connections[DEFAULT_DB_ALIAS] = own
    own.ensure_connection()


def round_trip_ms() -> float:
    """Return how long the smallest query takes, in milliseconds."""
    with connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute("SELECT 1")
        return (time.perf_counter() - started) * 1000


def unreachable(error: Exception) -> Check:
    """Return the result for a database that does not answer."""
    reason = without_passwords(str(error)).strip().split("\n", 1)[0][:300] or type(error).__name__
    return bad(
        "Database unavailable", f"start PostgreSQL (make up, or its service) or correct ABSURD_DATABASE_URL ({reason})"
    )


def latency(took_ms: float) -> Check:
    """Check how quickly the database answers."""
    return within(
        round(took_ms, 2),
        f"The database answers in {took_ms:.1f} ms",
        "find out what else its host and disk are doing",
        warn_at="database_latency_warn_ms",
        bad_at="database_latency_bad_ms",
    )


@lru_cache(maxsize=1)
def _on_disk() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return the migrations of this version, each with those that it replaces."""
    loader = MigrationLoader(None)
    return {key: list(migration.replaces) for key, migration in loader.disk_migrations.items()}


def migrations() -> Check:
    """Check that the schema is the one of this version."""
    applied, on_disk = set(MigrationRecorder(connection).applied_migrations()), _on_disk()
    missing = sorted(k for k, old in on_disk.items() if k not in applied and not (old and set(old) <= applied))
    if missing:
        return bad(
            f"{formats.count(len(missing), 'migration')} not applied, the first is {'.'.join(missing[0])}",
            "run manage.py migrate",
            len(missing),
            0,
        )
    installed = {config.label for config in apps.get_app_configs()}
    unknown = sorted(key for key in applied - set(on_disk) if key[0] in installed)
    unknown = [key for key in unknown if not any(key in old for old in on_disk.values())]
    newest = ".".join(unknown[-1]) if unknown else ""
    return counted(
        len(unknown),
        "All migrations are applied",
        f"The database has migrations that this version does not know, such as {newest}",
        "install the version on this host that the other hosts run",
    )


def writes() -> Check:
    """Check that the database accepts writes."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only')::boolean, pg_is_in_recovery()")
        read_only, standby = cursor.fetchone()
    if not read_only:
        return ok("The database accepts writes")
    why = "it is a standby" if standby else "default_transaction_read_only is on"
    return bad(
        f"The database refuses writes: {why}. Running attempts continue; nothing is claimed or stored",
        "check its disk and whether a failover is in progress; set ABSURD_DATABASE_URL to the primary",
    )


_INDEXES = """
SELECT class.relname, index.indisvalid AND index.indisready
FROM pg_index AS index JOIN pg_class AS class ON class.oid = index.indexrelid
WHERE class.relnamespace = current_schema()::regnamespace AND class.relname = ANY(%s)
"""


def _expected() -> dict[str, tuple[type[models.Model], models.Index | models.UniqueConstraint]]:
    found: dict[str, tuple[type[models.Model], models.Index | models.UniqueConstraint]] = {}
    for model in apps.get_app_config("tasks_app").get_models():
        unique = [each for each in model._meta.constraints if isinstance(each, models.UniqueConstraint)]
        found |= {each.name: (model, each) for each in (*model._meta.indexes, *unique)}
    return found


def indexes() -> Check:
    """Check that the indexes of claims and sweeps exist and are valid."""
    expected = _expected()
    with connection.cursor() as cursor:
        cursor.execute(_INDEXES, [list(expected)])
        valid = dict(cursor.fetchall())
    missing = sorted(name for name in expected if not valid.get(name))
    if not missing:
        return ok(f"All {len(expected)} indexes exist and are valid", 0, 0)
    unique = [name for name in missing if isinstance(expected[name][1], models.UniqueConstraint)]
    first = (unique or missing)[0]
    return fault(
        "bad" if unique else "warn",
        f"Indexes are missing or invalid: {', '.join(missing)}",
        f"{f'DROP INDEX CONCURRENTLY {first}; ' if first in valid else ''}{_create(*expected[first])}",
        len(missing),
        0,
    )


def _create(model: type[models.Model], index: models.Index | models.UniqueConstraint) -> str:
    editor = connection.schema_editor(collect_sql=True)
    if isinstance(index, models.UniqueConstraint):
        return str(index.create_sql(model, editor))
    return str(index.create_sql(model, editor, concurrently=True))


def triggers() -> Check:
    """Check that the triggers exist that keep the counts of tasks."""
    missing = queues.missing_triggers()
    return counted(
        len(missing),
        "Task counts are up to date",
        f"Task counts are wrong: the triggers {', '.join(missing)} are missing or disabled",
        "run manage.py absurd_setup: it creates them again and counts all tasks",
        "bad",
    )


def folding() -> Check:
    """Check that sweeps fold the changes of task counts."""
    limit = int(threshold("unfolded_warn"))
    found = queues.unfolded_changes(limit + 1)
    return within(
        found,
        f"Count changes not folded yet: {'more than ' if found > limit else ''}{min(found, limit):,}",
        "sweeps of web processes and workers fold them: check that one runs, and read its log",
        warn_at="unfolded_warn",
    )


def vacuum() -> Check:
    """Check that vacuum keeps up with the tables that every task writes to."""
    if not server.autovacuum_is_on():
        return bad(
            "Autovacuum is off", "set autovacuum = on and track_counts = on in postgresql.conf and reload the server"
        )
    tables = server.hot_tables()
    if not tables:
        return ok("There is no table to vacuum")
    limit = threshold("dead_rows_warn")
    behind = [t for t in tables if t.dead_rows > limit and (t.dead_ratio or 0.0) > threshold("dead_ratio_warn")]
    worst = max(behind or tables, key=lambda table: table.dead_rows)
    last = f"last vacuumed {clock.stamp(worst.vacuumed_at)}" if worst.vacuumed_at else "never vacuumed"
    message = f"{worst.name} has {worst.dead_rows} dead rows and {worst.live_rows} live ones, {last}"
    if behind:
        remedy = f"end what delays vacuum (see the check of old transactions), then VACUUM {worst.name}"
        return warn(message, remedy, worst.dead_rows, limit)
    return ok(message, worst.dead_rows, limit)


def events() -> Check:
    """Check that the feed sends events soon after they are committed."""
    state, limit = server.feed_state(), threshold("withheld_warn_sec")
    if state.withheld_sec > limit:
        return warn(
            "Events are withheld until a transaction ends that has been open for "
            f"{formats.duration(state.withheld_sec)} ({state.who})",
            "let it end, or end its session with pg_terminate_backend",
            round(state.withheld_sec, 1),
            limit,
        )
    behind = [position for position in feed.positions() if position < state.readable]
    lag_sec = max((server.event_age_sec(position) or 0.0 for position in behind), default=0.0)
    return within(
        round(lag_sec, 1),
        f"The live feed is {formats.duration(lag_sec)} behind" if lag_sec else "The live feed is up to date",
        "read the web process's log; restart it if the lag grows",
        warn_at="feed_lag_warn_sec",
    )


def old_transactions() -> Check:
    """Check for anything that keeps vacuum from removing dead rows."""
    holders = server.xmin_holders()
    for report, name in ((bad, "transaction_bad_sec"), (warn, "transaction_warn_sec")):
        limit = threshold(name)
        for holder in holders:
            if holder.age_sec is not None and holder.age_sec > limit:
                return report(*_delays_vacuum(holder), round(holder.age_sec, 1), limit)
    limit = threshold("transaction_warn_xids")
    for holder in holders:
        if holder.xids > limit:
            return warn(*_delays_vacuum(holder), holder.xids, limit)
    oldest_sec = max((holder.age_sec or 0.0 for holder in holders), default=0.0)
    return ok(
        f"The oldest transaction is {formats.duration(oldest_sec)} old" if holders else "No other transaction is open",
        round(oldest_sec, 1),
        threshold("transaction_warn_sec"),
    )


def _delays_vacuum(holder: server.XminHolder) -> tuple[str, str]:
    age = formats.duration(holder.age_sec) if holder.age_sec is not None else f"{holder.xids} transactions"
    return (
        f"Vacuum has been delayed for {age} by a {holder.kind} ({holder.who})",
        f"let it end, or end it: {holder.ends}",
    )


def clock_skew() -> Check:
    """Check that this host's clock agrees with the database's."""
    before = time.time()
    theirs = clock.now().timestamp()
    after = time.time()
    skew_sec = max(before - theirs, theirs - after, 0.0)
    return within(
        round(skew_sec, 3),
        f"This host's clock and the database's differ by {skew_sec:.1f} s",
        "synchronise both (chronyc tracking); the queue uses the database's clock",
        warn_at="clock_skew_warn_sec",
        bad_at="clock_skew_bad_sec",
    )
