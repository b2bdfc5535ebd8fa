"""Every registered task name has a handler that the child can load, with the params that the registry checks."""

from __future__ import annotations

import pytest

from tasks_app.engine import registry
from tasks_app.engine.call_handler import load


@pytest.mark.parametrize("name", sorted(registry.names()))
def test_its_handler_takes_the_params_that_are_checked_at_spawn(name):
    spec = registry.get(name)
    _, params = load(spec.handler)
    assert params is spec.params_model
