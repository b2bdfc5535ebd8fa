from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection

from tasks_app.auth import keys
from tests.tasks_app.conftest import health_is_fresh, notes_are_registered, worker

__all__ = ["health_is_fresh", "notes_are_registered", "worker"]


@pytest.fixture(autouse=True)
def use_of_keys_is_forgotten() -> None:
    keys.forget_uses()


@pytest.fixture
def other_connection(transactional_db: None) -> Iterator[psycopg.Connection]:
    """Another session in the test's database."""
    wanted = {"dbname", "user", "password", "host", "port"}
    params = {name: value for name, value in connection.get_connection_params().items() if name in wanted and value}
    with psycopg.connect(**params, autocommit=True) as other:
        yield other
