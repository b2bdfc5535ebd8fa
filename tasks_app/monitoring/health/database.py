"""Does the database answer, is it kept clean, and is it the one this version expects?"""

from __future__ import annotations

import time
from functools import lru_cache

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from tasks_app import feed
from tasks_app.monitoring import counts, database_stats
from tasks_app.monitoring.health.checks import Check, State, above, duration, limit
from tasks_app.postgresql import clock
from tasks_app.redaction import without_passwords


def connect_outside_the_pool() -> None:
    """Give this thread a connection of its own, so that a pool in use by others is not taken for a database that fails.

    Raises OperationalError.
    """
    own = connection.copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    own.settings_dict["OPTIONS"] |= {
        "connect_timeout": max(2, int(limit("limit_sec"))),
        "application_name": "absurd health",
    }
    connections[DEFAULT_DB_ALIAS] = own
    own.ensure_connection()


def round_trip_ms() -> float:
    """Return the milliseconds that the smallest query takes."""
    with connection.cursor() as cursor:
        started = time.perf_counter()
        cursor.execute("SELECT 1")
        return (time.perf_counter() - started) * 1000


def unreachable(error: Exception) -> Check:
    """Say that the database does not answer."""
    reason = without_passwords(str(error)).strip().split("\n", 1)[0][:300] or type(error).__name__
    return Check(
        name="database",
        state="bad",
        message="Database unavailable",
        remedy=f"start PostgreSQL (make up, or its service) or correct ABSURD_DATABASE_URL ({reason})",
    )


def latency(took_ms: float) -> Check:
    """Is the answer quick?"""
    return above(
        "database",
        round(took_ms, 2),
        f"The database answers in {took_ms:.1f} ms",
        "see what else the host and its disk are doing",
        warn="database_latency_warn_ms",
        bad="database_latency_bad_ms",
    )


@lru_cache(maxsize=1)
def _on_disk() -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return the migrations of this version, each with those that it replaces."""
    loader = MigrationLoader(None)
    return {key: list(migration.replaces) for key, migration in loader.disk_migrations.items()}


def migrations() -> Check:
    """Does the schema fit this version?"""
    applied, on_disk = set(MigrationRecorder(connection).applied_migrations()), _on_disk()
    missing = sorted(k for k, old in on_disk.items() if k not in applied and not (old and set(old) <= applied))
    if missing:
        return Check(
            name="migrations",
            state="bad",
            message=f"{len(missing)} migrations are not applied, from {'.'.join(missing[0])} on",
            remedy="run manage.py migrate",
            value=len(missing),
            threshold=0,
        )
    installed = {config.label for config in apps.get_app_configs()}
    unknown = sorted(key for key in applied - set(on_disk) if key[0] in installed)
    unknown = [key for key in unknown if not any(key in old for old in on_disk.values())]
    if unknown:
        return Check(
            name="migrations",
            state="warn",
            message=f"The database has migrations that this version does not know, such as {'.'.join(unknown[-1])}",
            remedy="bring this host to the version that the others run",
            value=len(unknown),
            threshold=0,
        )
    return Check(name="migrations", state="ok", message="All migrations are applied", value=0, threshold=0)


def writes() -> Check:
    """Does the database take writes?"""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_read_only')::boolean, pg_is_in_recovery()")
        read_only, standby = cursor.fetchone()
    if not read_only:
        return Check(name="writes", state="ok", message="The database takes writes")
    why = "it is a standby" if standby else "default_transaction_read_only is on"
    return Check(
        name="writes",
        state="bad",
        message=f"The database refuses writes: {why}. Running attempts live on; nothing is claimed or stored",
        remedy="see its disk and whether a failover goes on; point ABSURD_DATABASE_URL at the primary",
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
    """Are the indexes there, and valid, that claims and sweeps count on?"""
    expected = _expected()
    with connection.cursor() as cursor:
        cursor.execute(_INDEXES, [list(expected)])
        valid = dict(cursor.fetchall())
    missing = sorted(name for name in expected if not valid.get(name))
    if not missing:
        message = f"All {len(expected)} indexes are there"
        return Check(name="indexes", state="ok", message=message, value=0, threshold=0)
    unique = [name for name in missing if isinstance(expected[name][1], models.UniqueConstraint)]
    first = (unique or missing)[0]
    return Check(
        name="indexes",
        state="bad" if unique else "warn",
        message=f"Indexes are missing or invalid: {', '.join(missing)}",
        remedy=f"{f'DROP INDEX CONCURRENTLY {first}; ' if first in valid else ''}{_create(*expected[first])}",
        value=len(missing),
        threshold=0,
    )


def _create(model: type[models.Model], index: models.Index | models.UniqueConstraint) -> str:
    editor = connection.schema_editor(collect_sql=True)
    if isinstance(index, models.UniqueConstraint):
        return str(index.create_sql(model, editor))
    return str(index.create_sql(model, editor, concurrently=True))


def triggers() -> Check:
    """Are the triggers on that keep the counts?"""
    missing = counts.missing_triggers()
    if not missing:
        return Check(name="counting", state="ok", message="Every change of a task is counted", value=0, threshold=0)
    return Check(
        name="counting",
        state="bad",
        message=f"Counts of tasks are no longer kept: triggers {', '.join(missing)} are missing or off",
        remedy="run manage.py absurd_setup: it makes them again and counts all tasks",
        value=len(missing),
        threshold=0,
    )


def folding() -> Check:
    """Are changes of counts folded?"""
    most = int(limit("unfolded_warn")) + 1
    found = counts.unfolded(most)
    return above(
        "folding",
        found,
        f"{'More than ' if found == most else ''}{min(found, most - 1)} changes of counts wait to be folded",
        "sweeps run in every web process and worker: see that one is up, and its log",
        warn="unfolded_warn",
    )


def vacuum() -> Check:
    """Does vacuum keep up with the tables that every task writes to?"""
    if not database_stats.autovacuum_is_on():
        remedy = "set autovacuum = on and track_counts = on in postgresql.conf and reload"
        return Check(name="vacuum", state="bad", message="Autovacuum is off", remedy=remedy)
    tables = database_stats.hot_tables()
    if not tables:
        return Check(name="vacuum", state="ok", message="There is no table to vacuum")
    behind = [
        table
        for table in tables
        if table.dead_rows > limit("dead_rows_warn") and (table.dead_ratio or 0.0) > limit("dead_ratio_warn")
    ]
    worst = max(behind or tables, key=lambda table: table.dead_rows)
    last = f"last vacuumed {clock.stamp(worst.vacuumed_at)}" if worst.vacuumed_at else "never vacuumed"
    message = f"{worst.name} has {worst.dead_rows} dead rows beside {worst.live_rows} live ones, {last}"
    if behind:
        remedy = f"end what holds it back, if a check says so, then VACUUM {worst.name}"
        threshold = limit("dead_rows_warn")
        return Check(
            name="vacuum", state="warn", message=message, remedy=remedy, value=worst.dead_rows, threshold=threshold
        )
    return Check(name="vacuum", state="ok", message=message, value=worst.dead_rows, threshold=limit("dead_rows_warn"))


def events() -> Check:
    """Are events told soon after they were committed?"""
    state = database_stats.feed_state()
    if state.withheld_sec > limit("withheld_warn_sec"):
        return Check(
            name="feed",
            state="warn",
            message=f"Events are withheld for a transaction open for {duration(state.withheld_sec)} ({state.who})",
            remedy="let it end, or end its session with pg_terminate_backend",
            value=round(state.withheld_sec, 1),
            threshold=limit("withheld_warn_sec"),
        )
    behind = [position for position in feed.positions() if position < state.readable]
    lag_sec = max((database_stats.event_age_sec(position) or 0.0 for position in behind), default=0.0)
    return above(
        "feed",
        round(lag_sec, 1),
        f"The live feed is {duration(lag_sec)} behind" if lag_sec else "The live feed is up to date",
        "see the web process's log; restart it if the lag grows",
        warn="feed_lag_warn_sec",
    )


def old_transactions() -> Check:
    """Does anything keep vacuum from removing dead rows?"""
    holders = database_stats.xmin_holders()
    for state, threshold in (("bad", "transaction_bad_sec"), ("warn", "transaction_warn_sec")):
        for holder in holders:
            if holder.age_sec is not None and holder.age_sec > limit(threshold):
                return _held(holder, "bad" if state == "bad" else "warn", holder.age_sec, limit(threshold))
    for holder in holders:
        if holder.xids > limit("transaction_warn_xids"):
            return _held(holder, "warn", holder.xids, limit("transaction_warn_xids"))
    oldest_sec = max((holder.age_sec or 0.0 for holder in holders), default=0.0)
    return Check(
        name="old transactions",
        state="ok",
        message=f"The oldest transaction is {duration(oldest_sec)} old" if holders else "No other transaction is open",
        value=round(oldest_sec, 1),
        threshold=limit("transaction_warn_sec"),
    )


def _held(holder: database_stats.XminHolder, state: State, value: float, threshold: float) -> Check:
    age = f"for {duration(holder.age_sec)}" if holder.age_sec is not None else f"for {holder.xids} transactions"
    return Check(
        name="old transactions",
        state=state,
        message=f"Vacuum has been held back {age} by a {holder.kind} ({holder.who})",
        remedy=f"let it end, or {holder.ends}",
        value=round(value, 1),
        threshold=threshold,
    )


def clock_skew() -> Check:
    """Does this host's clock agree with the database's?"""
    before = time.time()
    theirs = clock.now().timestamp()
    after = time.time()
    skew_sec = max(before - theirs, theirs - after, 0.0)
    return above(
        "clock",
        round(skew_sec, 3),
        f"This host's clock and the database's differ by {skew_sec:.1f} s",
        "synchronise both (chronyc tracking); the queue goes by the database's",
        warn="clock_skew_warn_sec",
        bad="clock_skew_bad_sec",
    )
