"""The tools of every day: what runs before a commit, the coverage, the bill of materials, the forms for issues."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=250
    )


def test_the_hooks_before_a_commit_are_valid_and_among_the_checks_of_make_lint():
    done = run(str(TOOLS / "pre-commit"), "validate-config")
    assert done.returncode == 0, done.stdout + done.stderr
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    recipe = (ROOT / "Makefile").read_text().replace("$(PY)", ".venv/bin/python")
    for hook in repository["hooks"]:
        command = re.sub(r" --force-exclude| --check", "", hook["entry"])
        assert command in recipe, hook["id"]


def test_coverage_counts_what_child_processes_run(tmp_path):
    program = "import subprocess, sys; subprocess.run([sys.executable, '-m', 'tasks_app.version'], check=True)"
    own = {"COVERAGE_FILE": str(tmp_path / "coverage")}
    script = tmp_path / "start.py"
    script.write_text(program)
    coverage = (sys.executable, "-m", "coverage")
    for argv in (("run", str(script)), ("combine",), ("json", "-o", str(tmp_path / "coverage.json"))):
        done = run(*coverage, *argv, **own)
        assert done.returncode == 0, done.stdout + done.stderr
    files = json.loads((tmp_path / "coverage.json").read_text())["files"]
    assert files["tasks_app/version.py"]["summary"]["covered_lines"] > 0
    assert not any("/migrations/" in name for name in files)


def test_the_bill_of_materials_has_every_locked_package_with_hashes(tmp_path):
    path = tmp_path / "sbom.json"
    done = run("make", "--no-print-directory", "-o", "ready-dev", "sbom", f"SBOM={path}")
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(path.read_text())
    assert (found["bomFormat"], found["metadata"]["component"]["name"]) == ("CycloneDX", "absurd-dsa110")
    locked = re.findall(r"^([a-zA-Z0-9._-]+)(?:\[\w+\])?==", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    assert sorted(part["name"] for part in found["components"]) == sorted(locked)
    assert all(reference["hashes"] for part in found["components"] for reference in part["externalReferences"])


def test_the_forms_for_issues_have_a_name_and_ask_for_evidence():
    forms = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert [form.stem for form in forms] == ["fault", "wish"]
    for form in forms:
        header = yaml.safe_load(form.read_text().split("---")[1])
        assert header["name"] and header["about"]
    assert "absurd_doctor" in forms[0].read_text()
    assert "make test" in (ROOT / ".github" / "PULL_REQUEST_TEMPLATE.md").read_text()
