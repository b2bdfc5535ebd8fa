"""What the search in the header finds of the pipeline: observations by name or date, sources by name or position."""

from __future__ import annotations

import re
from collections.abc import Iterable

from django.urls import reverse

from pipeline_app.admin import sources
from pipeline_app.models import Observation, ObservationState
from tasks_app.admin.search import HITS_MOST, Finder, Hit, Text, add

_DATE = re.compile(r"\d{4}-\d\d(?:-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d)?)?)?)?")
NAME_CHARS = len("2026-10-01T06:00:00")


def _observations(text: Text) -> Iterable[Hit]:
    """Find observations by the time in the text, such as in the name of a raw file, or by how their name begins."""
    if text.uuid:
        rows = Observation.objects.filter(run_id=text.uuid)
        start = ""
    else:
        dated = _DATE.search(text.text)
        start = dated[0].replace(" ", "T") if dated else text.text
        rows = Observation.objects.filter(name__startswith=start)
    for row in rows.order_by("-name")[: HITS_MOST + 1]:
        address = reverse("admin:pipeline_app_observation_change", args=[row.pk])
        # How far a run that was started has come, its own page says.
        state = "" if row.state == ObservationState.STARTED else f", {row.get_state_display()}"
        detail = f"strip {row.declination_deg:+.2f}°{state}"
        yield Hit(title=row.name, detail=detail, address=address, is_exact=row.name == start)


def _sources(text: Text) -> Iterable[Hit]:
    """Find sources by how their name begins, or around a position."""
    if text.uuid:
        return
    for name in sources.names_of(text.text, HITS_MOST + 1):
        yield Hit(title=name, address=sources.address_of(name), is_exact=name == text.text)


add(
    Finder(
        kind="Observations",
        permission="pipeline_app.view_observation",
        accepts="an observation's name or the beginning of its UTC time: 2026-10-01T06, also within a file's name",
        find=_observations,
    )
)
add(
    Finder(
        kind="Sources",
        permission="pipeline_app.view_measurement",
        accepts="the beginning of a source's name, or a position: J0834+555, 09:23:12 +54:36:00 or 140.8 54.6 r=5",
        find=_sources,
    )
)
