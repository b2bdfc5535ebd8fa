"""The search in the header: what a person pastes is found by what each application knows how to find."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from tasks_app.admin import display, pages
from tasks_app.admin.reading import with_id
from tasks_app.engine import registry
from tasks_app.models import ArchivedTask, Run, Task, Worker
from tasks_app.models.querysets import error_has_words, short_id
from tasks_app.monitoring.workers import state_of

HITS_MOST = 10
"""Of each kind; a finder may return one more, which says that there are more."""
TEXT_CHARS_MOST = 300
ERROR_CHARS_LEAST = 3
"""One or two letters begin a word of too many errors to be looked for among them."""
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", re.IGNORECASE)
_DIGITS = re.compile(r"[0-9a-f-]+", re.IGNORECASE)
_AROUND = " \"'`,;…"


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One thing that was found, and its page."""

    title: str
    address: str
    detail: str = ""
    is_exact: bool = False
    """Whether the text names this and nothing else of its kind."""


@dataclass(frozen=True, kw_only=True)
class Text:
    """What was pasted, without what surrounds it, and the id in it, be it inside of an address or a line of a log."""

    text: str
    uuid: UUID | None

    @classmethod
    def of(cls, pasted: str) -> Text:
        """Read what was pasted."""
        found = _UUID.search(pasted)
        words = " ".join(pasted.split())  # also spaces that only Unicode knows
        return cls(text=words.strip(_AROUND)[:TEXT_CHARS_MOST], uuid=UUID(found[0]) if found else None)


@dataclass(frozen=True, kw_only=True)
class Finder:
    """What finds things of one kind, in one query by an index, for those who have the permission."""

    kind: str
    """In the plural."""
    permission: str
    accepts: str
    """What a person may paste."""
    find: Callable[[Text], Iterable[Hit]]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The hits of a kind."""

    kind: str
    hits: list[Hit]
    is_cut: bool


_finders: list[Finder] = []


def add(finder: Finder) -> None:
    """Add a finder; results are in the order in which finders were added."""
    _finders.append(finder)


def _permitted(request: HttpRequest) -> list[Finder]:
    return [finder for finder in _finders if request.user.has_perm(finder.permission)]


def _found(finders: list[Finder], text: Text) -> list[Group]:
    groups = []
    for finder in finders:
        hits = list(finder.find(text))
        groups.append(Group(kind=finder.kind, hits=hits[:HITS_MOST], is_cut=len(hits) > HITS_MOST))
    return [group for group in groups if group.hits]


def _only(groups: list[Group]) -> Hit | None:
    """Return the one thing that the text names, or else the one thing that was found at all."""
    hits = [hit for group in groups for hit in group.hits]
    exact = [hit for hit in hits if hit.is_exact]
    chosen = exact or hits
    return chosen[0] if len(chosen) == 1 else None


def search_page(request: HttpRequest) -> HttpResponseBase:
    """Go to what the text names; where it names several things or none, list what was found."""
    text = Text.of(request.GET.get("q", ""))
    finders = _permitted(request)
    panel = pages.read_panels({"found": lambda: _found(finders, text) if text.text else []})["found"]
    only = _only(panel.value or [])
    if only is not None:
        return HttpResponseRedirect(only.address)
    context = {"query": text.text, "console_query": text.text, "panel": panel, "finders": finders}
    return pages.render(request, "admin/search.html", title="Search", context=context)


def _tasks(text: Text) -> Iterable[Hit]:
    """Find tasks, also archived, by their id or how it begins or ends; pages write one as `imaging 1a2b3c4d`."""
    digits = str(text.uuid) if text.uuid else text.text.split()[-1]
    live, archived = with_id(Task.objects.order_by(), digits), with_id(ArchivedTask.objects.order_by(), digits)
    if live is None or archived is None:
        return
    columns = ("task_id", "task_name", "status")
    rows = live.values_list(*columns).union(archived.values_list(*columns), all=True)[: HITS_MOST + 1]
    for task_id, name, status in rows:
        address = reverse("admin:tasks_app_task_change", args=[task_id])
        yield Hit(title=f"{name} {task_id}", detail=status, address=address, is_exact=task_id == text.uuid)


def _failures(text: Text) -> Iterable[Hit]:
    """Find the tasks that failed by themselves and whose error has the words of the text, the last first."""
    if text.uuid or len(text.text) < ERROR_CHARS_LEAST or _DIGITS.fullmatch(text.text):
        return
    found = Task.objects.filter(error_has_words(text.text), unrunnable_because=None).order_by("-id")
    rows = found.annotate(head=Left("error", display.ERROR_CHARS)).values_list("task_id", "task_name", "head")
    for task_id, name, head in rows[: HITS_MOST + 1]:
        address = reverse("admin:tasks_app_task_change", args=[task_id])
        yield Hit(title=f"{name} {short_id(task_id)}", detail=display.first_line(head), address=address)


def _task_names(text: Text) -> Iterable[Hit]:
    """Find the tasks of a name."""
    lists = reverse("admin:tasks_app_task_changelist")
    for name in registry.names():
        if len(text.text) > 1 and name.startswith(text.text.lower()):
            address = f"{lists}?{urlencode({'task_name': name})}"
            yield Hit(title=name, detail="its tasks", address=address, is_exact=name == text.text.lower())


def _runs(text: Text) -> Iterable[Hit]:
    """Find runs by their id, or how their label begins."""
    rows = Run.objects.filter(run_id=text.uuid) if text.uuid else Run.objects.filter(label__startswith=text.text)
    for run in rows.defer("params").order_by("-id")[: HITS_MOST + 1]:
        address = reverse("admin:tasks_app_run_change", args=[run.pk])
        yield Hit(title=str(run), detail=str(run.run_id), address=address, is_exact=run.run_id == text.uuid)


def _workers(text: Text) -> Iterable[Hit]:
    """Find workers by their id, or how their label begins, also where the host follows it."""
    if text.uuid:
        rows = Worker.objects.filter(pk=text.uuid)
    else:
        label, at, host = text.text.removeprefix("worker:").partition("@")
        rows = (
            Worker.objects.filter(label=label, host__startswith=host)
            if at
            else Worker.objects.filter(label__startswith=label)
        )
    for worker in rows.order_by("-started_at")[: HITS_MOST + 1]:
        address = reverse("admin:tasks_app_worker_change", args=[worker.pk])
        detail = f"pid {worker.pid}, {state_of(worker, timezone.now(), busy=False)}"
        yield Hit(title=str(worker), detail=detail, address=address, is_exact=worker.pk == text.uuid)


pages.add(pages.Page(route="search/", name="search", view=search_page, permission="tasks_app.view_task"))
for finder in (
    Finder(kind="Tasks", permission="tasks_app.view_task", find=_tasks,
           accepts="a task id, or 4 or more of its first or last digits"),
    Finder(kind="Task names", permission="tasks_app.view_task", find=_task_names,
           accepts="the beginning of a task name"),
    Finder(kind="Errors", permission="tasks_app.view_task", find=_failures,
           accepts="words of the first line of an error"),
    Finder(kind="Runs", permission="tasks_app.view_run", find=_runs,
           accepts="a run id, or the beginning of a run's label"),
    Finder(kind="Workers", permission="tasks_app.view_worker", find=_workers,
           accepts="a worker id, or the beginning of its label"),
):  # fmt: skip
    add(finder)
