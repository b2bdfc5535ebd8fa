"""PostgreSQL's roles of one installation: who owns the schema, who runs the system, who only reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from psycopg import sql

SECRET_TABLES = (
    *("auth_user", "django_session", "rest_framework_api_key_apikey", "tasks_app_apikey"),
    *("axes_accessattempt", "axes_accessattemptexpiration", "axes_accessfailurelog", "axes_accesslog"),
)
"""Tables with hashes of passwords and keys, sessions and addresses of people, which the reading role may not see."""
STATISTICS = "pg_read_all_stats"
"""Lets health name the sessions of others that hold up vacuum, and for how long."""
_OWNED = """
    SELECT format('%I.%I', nspname, relname),
        CASE relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE nspname = 'public' AND relkind IN ('r', 'p', 'v', 'S') AND NOT EXISTS
        (SELECT FROM pg_depend WHERE objid = pg_class.oid AND classid = 'pg_class'::regclass AND deptype IN ('a', 'i'))
    UNION ALL SELECT oid::regprocedure::text, 'FUNCTION' FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    UNION ALL SELECT oid::regtype::text, 'TYPE' FROM pg_type
    WHERE typnamespace = 'public'::regnamespace AND typtype IN ('c', 'e', 'd')
        AND (typrelid = 0 OR (SELECT relkind FROM pg_class WHERE pg_class.oid = typrelid) = 'c')
"""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The names of the roles."""

    owner: str
    """Owns database and schema: migrations, backups (it may create databases), `absurd_roles`."""
    app: str
    """Web, workers, ingest, commands: reads and writes rows, changes no schema."""
    reader: str
    """Reports and notebooks: reads rows, save those of accounts and keys."""

    def each(self) -> tuple[str, str, str]:
        return (self.owner, self.app, self.reader)


@transaction.atomic
def apply(roles: Roles, passwords: Mapping[str, str]) -> list[str]:
    """Create the roles that are missing, hand the schema to the owner and set all grants; return what was done.

    Safe to run again, such as after a migration. The session's role must be a superuser, or the owner itself with
    CREATEROLE.
    """
    done = []
    with connection.cursor() as cursor:
        for role in roles.each():
            if _missing(cursor, role):
                cursor.execute(_statement("CREATE ROLE {} LOGIN", role))
                done.append(f"created the role {role}")
            if password := passwords.get(role):
                cursor.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)))
                done.append(f"set the password of {role}")
        cursor.execute(_statement("ALTER ROLE {} CREATEDB", roles.owner))
        for statement in _ownership(cursor, roles):
            cursor.execute(statement)
        for statement in _grants(roles):
            cursor.execute(statement)
        for table in _secret_tables(cursor):
            cursor.execute(_statement("REVOKE ALL ON TABLE {} FROM {}", table, roles.reader))
    done.append(f"{roles.owner} owns the schema, {roles.app} reads and writes rows, {roles.reader} reads")
    return done


def _missing(cursor: CursorWrapper, role: str) -> bool:
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
    return cursor.fetchone() is None


def _ownership(cursor: CursorWrapper, roles: Roles) -> Iterator[sql.Composed]:
    """Yield what gives the owner the database, the schema and all that is in it."""
    database = connection.settings_dict["NAME"]
    yield _statement("ALTER DATABASE {} OWNER TO {}", database, roles.owner)
    yield _statement("ALTER SCHEMA public OWNER TO {}", roles.owner)
    cursor.execute(_OWNED)
    for name, kind in cursor.fetchall():  # quoted by the server
        yield sql.SQL("ALTER {} {} OWNER TO {}").format(sql.SQL(kind), sql.SQL(name), sql.Identifier(roles.owner))


def _grants(roles: Roles) -> Iterator[sql.Composed]:
    database = connection.settings_dict["NAME"]
    yield _statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
    yield _statement("REVOKE ALL ON SCHEMA public FROM PUBLIC, {}, {}", roles.app, roles.reader)
    yield _statement("GRANT CONNECT ON DATABASE {} TO {}, {}", database, roles.app, roles.reader)
    yield _statement("GRANT USAGE ON SCHEMA public TO {}, {}", roles.app, roles.reader)
    yield _statement("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}, {}", roles.app, roles.reader)
    yield _statement("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}", roles.app)
    yield _statement("GRANT USAGE, SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO {}", roles.app)
    yield _statement("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}", roles.reader)
    # What later migrations make is the app's at once; the reader's after the next run of this.
    later = "ALTER DEFAULT PRIVILEGES FOR ROLE {} IN SCHEMA public GRANT "
    yield _statement(later + "SELECT, INSERT, UPDATE, DELETE ON TABLES TO {}", roles.owner, roles.app)
    yield _statement(later + "USAGE, SELECT, UPDATE ON SEQUENCES TO {}", roles.owner, roles.app)
    yield _statement("GRANT {} TO {}", STATISTICS, roles.app)


def _secret_tables(cursor: CursorWrapper) -> list[str]:
    cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return sorted({name for (name,) in cursor.fetchall()} & set(SECRET_TABLES))


def _statement(template: str, *names: str) -> sql.Composed:
    return sql.SQL(template).format(*map(sql.Identifier, names))
