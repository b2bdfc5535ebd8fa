"""A page that says what will be done, asks why, and does it when it is confirmed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from tasks_app.admin.verbs import ReasonForm
from tasks_app.auth.keys import actor_of
from tasks_app.errors import AbsurdError


@dataclass(frozen=True, kw_only=True)
class Question:
    """What the page says."""

    title: str
    warning: str
    submit: str
    back: str
    """The address of the page that it was asked from."""
    crumb: str
    """The name of that page."""
    dangerous: bool = False
    hidden: Iterable[tuple[str, Any]] = ()
    """Further fields that come back with the answer."""


class Named(Protocol):
    """What a verb of any kind has."""

    @property
    def name(self) -> str:
        """Its word in addresses."""


def verb_urls(
    owner: admin.ModelAdmin[Any], verbs: Iterable[Named], view: Callable[..., HttpResponse]
) -> list[URLPattern]:
    """Return the address of each verb below an object's page; `view` is called with the object's id and the verb."""
    label = f"{owner.opts.app_label}_{owner.opts.model_name}"
    return [
        path(
            f"<path:object_id>/{verb.name}/",
            owner.admin_site.admin_view(view),
            {"verb": verb},
            name=f"{label}_{verb.name}",
        )
        for verb in verbs
    ]


def is_confirmed(request: HttpRequest) -> bool:
    """Whether the request is the answer from such a page, not the way to it."""
    return request.method == "POST" and "confirmed" in request.POST


def ask(
    owner: admin.ModelAdmin[Any],
    request: HttpRequest,
    question: Question,
    form: forms.Form | None,
    context: Mapping[str, Any] | None = None,
) -> TemplateResponse:
    """Show the page; without a form there is nothing to confirm."""
    shown = {"title": question.title, "opts": owner.opts, "question": question, "form": form, **(context or {})}
    return TemplateResponse(request, "admin/tasks_app/ask.html", {**owner.admin_site.each_context(request), **shown})


def ask_and_act(
    owner: admin.ModelAdmin[Any],
    request: HttpRequest,
    question: Question,
    act: Callable[[str, str], str],
) -> HttpResponse:
    """Ask why, then act and go back. `act` gets the actor and the reason, and returns what it did."""
    form = ReasonForm(request.POST if is_confirmed(request) else None)
    if not (is_confirmed(request) and form.is_valid()):
        return ask(owner, request, question, form)
    try:
        with transaction.atomic():
            told = act(actor_of(request.user, None), form.cleaned_data["reason"])
        messages.success(request, told)
    except AbsurdError as error:
        messages.error(request, str(error))
    return HttpResponseRedirect(question.back)
