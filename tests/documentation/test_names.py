"""Commands, options, variables, targets, paths and routes that the documentation names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import get_commands
from django.urls import Resolver404, resolve

from absurd_project import env, variables
from absurd_project.reference import commands as reference
from tasks_app.defaults import BY_NAME
from tasks_app.monitoring import series
from tests.documentation import names
from tests.documents import ROOT, SHELL, blocks_of, pages

PAGES = pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
TOP = "absurd_project|deploy|docs|pipeline_app|tasks_app|tests|workers|templates"
OTHERS = {"absurd_app", "absurd_owner", "absurd_reader", "absurd_key", "absurd_project"} | {
    each.full_name for each in series.SERIES
}
"""Roles, a file, a package and metrics, whose names begin as commands do."""
DATABASES = ("absurd_replaced_", "absurd_benchmark_")
CREATED = {"deploy/docker/secrets"}
"""Made by a command on the same page."""
SAMPLE = "00000000-0000-0000-0000-000000000007"


@PAGES
def test_every_shell_block_is_run_or_says_why_not(path: Path):
    for block in blocks_of(path):
        where = f"{path.name}:{block.line}"
        assert block.language, f"{where}: a block without a language; write sh, or text for what is no command"
        if block.language in SHELL:
            assert bool(block.title) != bool(block.reason), f"{where}: give it a title, or <!-- not run: reason -->"


@PAGES
def test_commands_and_their_options_are_there(path: Path):
    known = reference.names()
    faults = []
    for name, *arguments in names.commands(path):
        if name not in known:
            is_other = name in OTHERS or name.startswith(DATABASES)
            faults += [] if is_other else [f"{name}: no such command"]
            continue
        parser = reference.parser_of(name)
        subs = reference.subparsers(parser)
        options = {option for each in (parser, *subs.values()) for option in each._option_string_actions}
        options |= {"--help", "-h"}
        faults += [
            f"{name}: no option {word}"
            for argument in arguments
            if (word := re.split(r"[=|]", argument)[0]).startswith("--") and word not in options
        ]
        first = next((each for each in arguments if each), "")
        if subs and re.fullmatch(r"[a-z][a-z|-]*", first):
            faults += [f"{name}: no word {word}" for word in first.split("|") if word not in subs]
    assert not faults, faults


def test_a_command_an_option_and_a_word_that_are_not_there_are_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "`manage.py absurd_stat`, `absurd_tasks lost`, `absurd_spawn echo --wat`, `absurd_spawn echo --wait`\n"
    )
    with pytest.raises(AssertionError) as found:
        test_commands_and_their_options_are_there(page)
    text = str(found.value)
    assert all(fault in text for fault in ("absurd_stat: no such", "no word lost", "no option --wat")), text
    assert "--wait" not in text


@PAGES
def test_variables_are_read(path: Path):
    known = {*variables.READ, *BY_NAME, *(f"{name}_FILE" for name in env.FROM_FILES)}
    found = set(re.findall(r"\b(?:ABSURD_[A-Z_]*[A-Z]|SECRET_KEY(?:_FILE)?)\b", path.read_text()))
    assert found - known == set()


@PAGES
def test_targets_of_make_are_there(path: Path):
    declared = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
    lines = list(names.code(path))
    found = {word for line in lines for word in re.findall(r"(?:^|[;&(] ?)make ([a-z][a-z-]*)", line)}
    assert found - set(declared) == set()


@PAGES
def test_paths_of_the_repository_are_there(path: Path):
    named = {found for line in names.code(path) for found in re.findall(rf"(?<![\w./~-])(?:{TOP})/[\w./@*-]*\w", line)}
    assert {each for each in named if not list(ROOT.glob(each)) and not list(ROOT.glob(f"{each}.*"))} <= CREATED


@PAGES
def test_routes_and_their_methods_are_there(path: Path):
    faults = []
    for line in names.code(path):
        for method, address in _addresses(line):
            try:
                view = resolve(address).func
            except Resolver404:
                faults.append(address)
                continue
            if method and not hasattr(getattr(view, "cls", view), method.lower()):
                faults.append(f"{method} {address}")
    assert faults == []


def _addresses(line: str) -> list[tuple[str, str]]:
    """Return the routes of the API that a piece of code names, with their methods where they have one."""
    found = re.findall(r"(?:(GET|POST|PUT|PATCH|DELETE) )?(?:http://[\w.:$}{-]+)?(/api/absurd/[\w/{}$.-]*\w}?)", line)
    found += [
        (method, f"/api/absurd/{rest}")
        for method, rest in re.findall(r"\b(GET|POST|PUT|PATCH|DELETE) ((?!/|…)[a-z][\w/{}-]*)", line)
    ]
    return [(method, re.sub(r"\{\w*\}|\$\w+", SAMPLE, path)) for method, path in found]


def test_every_command_of_django_that_is_named_is_there():
    assert {"migrate", "check", "createsuperuser", "spectacular"} <= set(get_commands())
