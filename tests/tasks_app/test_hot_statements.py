"""The hot statements are files that psql runs as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from django.db import connection

from absurd_project.local import postgres
from tasks_app.engine.claim import CLAIM
from tasks_app.engine.complete import COMPLETE
from tasks_app.engine.spawn import INSERT
from tasks_app.postgresql import statements

PSQL = postgres._binaries() / "psql"


@pytest.mark.django_db
@pytest.mark.parametrize("path", [CLAIM, COMPLETE, INSERT], ids=lambda path: path.stem)
def test_psql_explains_it_with_the_variables_of_its_heading(path):
    text = path.read_text()
    (example,) = re.findall(r"^--   (psql .*?) -f", text, re.DOTALL | re.MULTILINE)
    variables = shlex.split(example.replace("\n--", " "))[1:]
    settings = connection.get_connection_params()
    address = [f"{name}={settings[name]}" for name in ("host", "port", "dbname", "user") if settings.get(name)]
    output = subprocess.run(
        [PSQL, "-X", "-v", "ON_ERROR_STOP=1", *variables, " ".join(address)],
        input=f"EXPLAIN {text};", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert output.returncode == 0, output.stderr
    assert "CTE" in output.stdout


@pytest.mark.parametrize("path", [CLAIM, COMPLETE, INSERT], ids=lambda path: path.stem)
def test_it_is_sent_without_its_comments_and_with_parameters_for_its_variables(path):
    literals = {"limit": 4, "columns": ("id",), "kept": ("priority",), "definitions": (("priority", "smallint"),)}
    sent = statements.load(path, **literals)
    assert "--" not in sent
    assert "LIMIT 4" in sent or path != CLAIM
    variables = set(re.findall(r":([a-z_]+)", re.sub(r"--.*|::|'[^']*'", " ", path.read_text())))
    assert variables - literals.keys() == set(re.findall(r"%\((\w+)\)s", sent))
