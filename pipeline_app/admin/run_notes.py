"""What the pipeline knows about the stages of a run: verdicts, key figures and products, on the run's page."""

from __future__ import annotations

from collections import defaultdict
from uuid import UUID

from django.urls import reverse

from pipeline_app.admin.metrics_text import figures_of
from pipeline_app.models import Product
from tasks_app.admin import run_page
from tasks_app.admin.pages import Link
from tasks_app.admin.run_page import Notes, RunNotes
from tasks_app.models import Run

PRODUCTS_MOST = 500
KEY_FIGURES = (
    "missing subbands", "antennas solved", "median signal to noise", "flagged", "dead antennas", "noise", "peak",
    "dynamic range", "second image made", "coherence", "of them not seen", "flux over catalogue", "fluxes",
)  # fmt: skip
"""The figures of `metrics_text` by which a stage is judged at a glance."""


def notes_of(run: Run) -> RunNotes:
    """Return the notes, from the run's first PRODUCTS_MOST products."""
    rows = Product.objects.filter(run_id=run.run_id).defer("params", "versions", "inputs").order_by("id")
    by_task: dict[UUID, Notes] = defaultdict(Notes)
    observations: set[int] = set()
    for product in rows[:PRODUCTS_MOST]:
        notes = by_task[product.task_id]
        notes.verdict = notes.verdict or product.verdict
        notes.figures += [each for each in figures_of(product.kind, product.metrics) if each.label in KEY_FIGURES]
        address = reverse("admin:pipeline_app_product_change", args=[product.pk])
        notes.products.append(Link(label=product.kind, address=address))
        if product.observation_id is not None:
            observations.add(product.observation_id)
    view = "admin:pipeline_app_observation_change"
    links = [Link(label="observation", address=reverse(view, args=[pk])) for pk in sorted(observations)]
    return RunNotes(links=links, by_task=by_task)


SOURCE = run_page.Source(name="verdicts and products", permission="pipeline_app.view_product", read=notes_of)
