"""Commands called as an operator calls them, in this process or in one of their own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

ROOT = Path(__file__).resolve().parents[3]


def output_of(*arguments: object) -> str:
    output = io.StringIO()
    call_command(*map(str, arguments), stdout=output)
    return output.getvalue()


def json_of(*arguments: object) -> Any:
    return json.loads(output_of(*arguments, "--json"))


def refused(*arguments: object) -> tuple[int, str]:
    with pytest.raises(CommandError) as caught:
        output_of(*arguments)
    return caught.value.returncode, str(caught.value)


def run(environment: dict[str, str], *arguments: object, stdin: str = "", timeout: float = 60) -> Any:
    """Run manage.py in a process of its own, without a terminal."""
    return subprocess.run(
        [sys.executable, "manage.py", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
