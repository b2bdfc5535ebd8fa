"""Which data roots a host must see, and how they are marked."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from tasks_app.files import directories
from tasks_app.monitoring import data_roots


@pytest.fixture
def roots(settings, tmp_path):
    """Three roots: inside the state directory, one that is there, and one that is not."""
    own, shared, away = tmp_path / "var" / "data", tmp_path / "shared", tmp_path / "away"
    shared.mkdir()
    settings.ABSURD_VAR = tmp_path / "var"
    settings.ABSURD_DATA_ROOTS = (own, shared, away)
    settings.ABSURD_DATA_ROOTS_GIVEN = True
    settings.ABSURD_MODE = "production"
    return own, shared, away


def test_in_production_every_named_root_must_be_marked_but_our_own_marks_itself(roots):
    own, shared, away = map(str, roots)
    data_roots.mark_own()
    assert data_roots.missing() == [shared, away]
    directories.mark(shared)
    assert data_roots.missing() == [away]
    assert directories.is_marked(own)


def test_of_the_default_roots_only_those_are_required_whose_directory_is_there(roots, settings):
    settings.ABSURD_DATA_ROOTS_GIVEN = False
    data_roots.mark_own()
    assert data_roots.missing() == [str(roots[1])]


def test_in_local_mode_a_root_is_marked_once_and_missing_when_it_loses_its_marker(roots, settings):
    settings.ABSURD_MODE = "local"
    data_roots.mark_own()
    assert data_roots.missing() == []
    (roots[1] / directories.MARKER).unlink()
    data_roots.mark_own()
    assert data_roots.missing() == [str(roots[1])]


@pytest.mark.django_db
def test_a_command_marks_what_is_mounted_and_says_what_is_not(roots, capsys):
    call_command("absurd_setup", "--mark-roots")
    output = capsys.readouterr().out
    assert f"data root {roots[1]}: marked" in output and f"data root {roots[2]}: does not exist on this host" in output
    assert data_roots.missing() == [str(roots[2])]


@pytest.mark.django_db
def test_a_command_that_could_mark_nothing_fails(roots, settings):
    settings.ABSURD_DATA_ROOTS = (roots[2],)
    with pytest.raises(CommandError, match="no data root could be marked"):
        call_command("absurd_setup", "--mark-roots")
