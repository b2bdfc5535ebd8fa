"""Pages that survive: a feed that is cut, a flood of events, two operators at once, strange names, no mouse."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.urls import reverse
from playwright.sync_api import Browser, Page, expect

from tasks_app.engine.complete import complete_task
from tasks_app.engine.fail import fail_attempt
from tasks_app.engine.spawn import NewTask, spawn_many
from tasks_app.models import Attempt, Run, Task
from tasks_app.operations.operation import Params
from tasks_app.operations.queues import pause
from tasks_app.operations.runs import start
from tasks_app.operations.tasks import cancel
from tests import daphne_server
from tests.browser.conftest import PASSWORD
from tests.browser.visitor import Visitor
from tests.tasks_app.callers import make_user
from tests.tasks_app.notes import REPORT, claim_one, make_worker, spawn_note
from tests.tasks_app.workflows.run_plans import ACTOR, linear

pytestmark = pytest.mark.django_db(transaction=True)
Visit = Callable[..., Visitor]
LISTS = ("tasks_app_run", "tasks_app_queue", "tasks_app_worker", "tasks_app_taskevent")
FLOOD = 1000
TABS_MOST = 150
STRANGE = "<img src=x onerror=alert(1)> \u202eesrever\u202c line\nbreak " + "x" * 1000
COUNT_PATCHES = """() => {
  window.patches = 0;
  document.addEventListener("console:fresh", () => { window.patches += 1; });
}"""
SELECT_ROWS = "() => document.getSelection().selectAllChildren(document.getElementById('result_list'))"
"""What is selected is not replaced: only the counting of ages writes there."""
WITHOUT_TIMES = """() => [...document.querySelectorAll("#result_list tbody tr, .state-tabs li")].map((each) => {
  const copy = each.cloneNode(true);
  copy.querySelectorAll("time").forEach((time) => time.remove());
  return copy.textContent.replace(/\\s+/g, " ").trim();
})"""


class Feed:
    """The way of the sockets, which can be cut."""

    def __init__(self, page: Page) -> None:
        self.is_cut, self._open = False, list[Any]()
        page.route_web_socket("**/ws/status*", self._connect)

    def _connect(self, socket: Any) -> None:
        if self.is_cut:
            socket.close()
        else:
            socket.connect_to_server()
            self._open.append(socket)

    def say(self, message: str) -> None:
        """Give the page a message as if the server had sent it."""
        for socket in self._open:
            socket.send(message)

    def cut(self) -> None:
        self.is_cut = True
        for socket in self._open:
            socket.close()
        self._open.clear()


def test_after_a_minute_without_a_feed_the_page_equals_a_reload(visit: Visit):
    worker = make_worker()
    for _ in range(20):
        spawn_note()
    visitor = visit()
    page = visitor.page
    page.clock.install()
    feed = Feed(page)
    visitor.open("/admin/tasks_app/task/")
    page.wait_for_selector("#live-state[data-state=live]")
    feed.cut()
    page.wait_for_selector("#live-state[data-state=lost]")
    for number in range(20):
        claim = claim_one(worker)
        if number % 2:
            complete_task(claim, {}, REPORT)
        else:
            fail_attempt(claim, "invalid", "no such file", REPORT)
    feed.is_cut = False
    page.clock.fast_forward(60_000)
    page.wait_for_selector("#live-state[data-state=live]")
    page.clock.fast_forward(5_000)
    expect(page.locator("#result_list .pill-completed")).to_have_count(10, timeout=60_000)
    expect(page.locator("#result_list .pill-failed")).to_have_count(10, timeout=60_000)
    shown = page.evaluate(WITHOUT_TIMES)
    page.reload()
    rows = page.evaluate(WITHOUT_TIMES)
    assert shown[-20:] == rows[-20:]


def test_a_page_that_cannot_be_fetched_again_is_not_called_live(visit: Visit):
    visitor = visit()
    page = visitor.page
    feed = Feed(page)
    visitor.open("/admin/tasks_app/task/")
    page.wait_for_selector("#live-state[data-state=live]")
    Session.objects.all().delete()
    feed.say('{"type": "queue_stats_update"}')
    expect(page.locator("#live-state")).to_have_text("signed out")
    feed.say('{"type": "pong"}')
    expect(page.locator("#live-state")).to_have_text("signed out", timeout=1)


def test_ages_stay_right_when_the_clock_of_the_browser_is_set(visit: Visit):
    spawn_note()
    visitor = visit()
    visitor.page.clock.install()
    page = visitor.open("/admin/tasks_app/task/")
    page.wait_for_selector("#live-state[data-state=live]")
    age = page.locator("#result_list time[data-age]").first
    page.clock.set_system_time(time.time() + 7200)
    expect(age).to_contain_text("h ")
    page.evaluate(SELECT_ROWS)
    spawn_note()
    expect(page.locator("#new-rows")).to_be_visible()
    expect(age).not_to_contain_text("h ")


def test_lists_of_runs_and_queues_are_live(visit: Visit):
    run = start(linear(), ACTOR)
    worker = make_worker()
    visitor = visit()
    page = visitor.open(reverse("admin:tasks_app_run_changelist"))
    page.wait_for_selector("#live-state[data-state=live]")
    complete_task(claim_one(worker), {}, REPORT)
    far = page.locator("#result_list .field-far")
    expect(far).to_contain_text(f"1 of {Task.objects.filter(run=run).count()}", timeout=60_000)
    page = visitor.open(reverse("admin:tasks_app_queue_changelist"))
    page.wait_for_selector("#live-state[data-state=live]")
    pause("dsa110-pipeline", actor="user:olga", reason="disk full")
    expect(page.locator("#result_list")).to_contain_text("user:olga: disk full", timeout=60_000)


@pytest.mark.chaos
def test_a_flood_of_events_is_taken_in_few_patches(visit: Visit):
    frames: list[Any] = []
    visitor = visit()
    page = visitor.page
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(frame)))
    page = visitor.open("/admin/tasks_app/task/")
    page.wait_for_selector("#live-state[data-state=live]")
    page.evaluate(
        "() => { window.patches = 0; document.addEventListener('console:fresh', () => { window.patches += 1; }); }"
    )
    spawn_many([NewTask.of(task_name="note", params={"text": "m31"}) for _ in range(FLOOD)], actor="user:test")
    expect(page.locator(".state-tabs >> text=pending")).to_contain_text(f"{FLOOD:,}", timeout=60_000)
    expect(page.locator("#new-rows")).to_contain_text("50 new", timeout=60_000)
    assert len(frames) >= FLOOD
    assert 1 <= page.evaluate("window.patches") <= FLOOD / 20


def test_the_second_operator_is_told_who_did_what(visit: Visit):
    task = spawn_note()
    visitor = visit()
    page = visitor.open(reverse("admin:tasks_app_task_cancel", args=[task.task_id]))
    cancel.act(task.task_id, Params.parse({"reason": "the dish is stowed"}), "user:olga")
    page.fill("input[name=reason]", "not needed")
    page.click("input[name=confirmed]")
    expect(page.locator(".messagelist")).to_contain_text("cancelled by user:olga")
    expect(page.locator(".messagelist")).to_contain_text("the dish is stowed")


def log_in_again(visitor: Visitor) -> None:
    page = visitor.page
    page.wait_for_selector("body.login")
    page.fill("#id_username", "operator-0")
    page.fill("#id_password", PASSWORD)
    page.click("input[type=submit]")


def test_what_was_typed_before_the_login_ended_is_there_after_the_next_one_and_nothing_was_done(visit: Visit):
    task, others = spawn_note(), [spawn_note() for _ in range(2)]
    visitor = visit()
    # A page of its own.
    page = visitor.open(reverse("admin:tasks_app_task_cancel", args=[task.task_id]))
    page.fill("input[name=reason]", "the dish is <stowed>")
    Session.objects.all().delete()
    page.click("input[name=confirmed]")
    log_in_again(visitor)
    expect(page.locator(".warningnote")).to_contain_text("nothing was done")
    expect(page.locator("input[name=reason]")).to_have_value("the dish is <stowed>")
    assert Task.objects.filter(status="pending").count() == 3
    page.click("input[name=confirmed]")
    expect(page.locator(".messagelist")).to_contain_text("1 cancelled")
    # The confirmation of a list's operation has no address of its own.
    page = visitor.open("/admin/tasks_app/task/?status=pending")
    for box in page.locator("#result_list .action-select").all():
        box.check()
    page.select_option("select[name=action]", label="Cancel selected tasks…")
    page.click("#changelist-form button[type=submit]")
    page.fill("input[name=reason]", "not needed")
    Session.objects.all().delete()
    page.click("input[name=confirmed]")
    log_in_again(visitor)
    expect(page.locator("input[name=reason]")).to_have_value("not needed")
    expect(page.locator("h1")).to_have_text("Cancel 2 tasks?")
    assert {each.status for each in Task.objects.filter(pk__in=[each.pk for each in others])} == {"pending"}
    page.click("input[name=confirmed]")
    expect(page.locator(".messagelist")).to_contain_text("2 cancelled")
    # Logged in again in another tab, the form is of the login before.
    page = visitor.open(reverse("admin:page_spawn") + "?task_name=photometry")
    page.fill("[name='params.image_path']", "/data/m31.fits")
    other = page.context.new_page()
    Session.objects.all().delete()
    other.goto(f"{visitor.address}/admin/")
    first, visitor.page = page, other
    log_in_again(visitor)
    other.wait_for_selector("#console-status")
    first.click("input[name=look]")
    first.click("text=Open the form again")
    expect(first.locator("[name='params.image_path']")).to_have_value("/data/m31.fits")
    visitor.complaints.clear()  # the browser's own line about the 403
    # What was put back once, or sent, is not kept.
    visitor.page = first
    page = visitor.open(reverse("admin:page_spawn") + "?task_name=photometry")
    expect(page.locator("[name='params.image_path']")).to_have_value("")


@pytest.mark.chaos
def test_a_page_says_that_the_server_is_away_for_three_minutes_and_then_equals_a_reload(
    browser: Browser, live_environment: dict[str, str]
):
    worker = make_worker()
    for _ in range(6):
        spawn_note()
    make_user("olga", "Operator")
    port = daphne_server.free_port()
    with Visitor.of(browser, f"http://127.0.0.1:{port}", width=1280, theme="light") as visitor:
        with daphne_server.serving(live_environment, port=port):
            visitor.log_in("olga", PASSWORD)
            page = visitor.page
            page.clock.install()
            visitor.open("/admin/tasks_app/task/")
            page.wait_for_selector("#live-state[data-state=live]")
        page.wait_for_selector("#live-state[data-state=lost]")
        for _ in range(6):  # half a minute each, as the page counts
            page.clock.run_for(30_000)
            expect(page.locator("#live-state")).to_have_text("reconnecting")
        for number in range(6):
            claim = claim_one(worker)
            if number % 2:
                complete_task(claim, {}, REPORT)
            else:
                fail_attempt(claim, "invalid", "no such file", REPORT)
        with daphne_server.serving(live_environment, port=port):
            page.clock.run_for(30_000)
            page.wait_for_selector("#live-state[data-state=live]")
            page.clock.run_for(5_000)
            expect(page.locator("#result_list .pill-completed")).to_have_count(3)
            expect(page.locator("#result_list .pill-failed")).to_have_count(3)
            shown = page.evaluate(WITHOUT_TIMES)
            page.reload()
            assert shown == page.evaluate(WITHOUT_TIMES)


def test_names_with_markup_and_other_directions_are_text_and_fit(visit: Visit):
    run = Run.objects.create(workflow="standard-pipeline", label=STRANGE[:200])
    task = spawn_note(run=run, params={"text": STRANGE})
    fail_attempt(claim_one(make_worker(label=STRANGE[:60])), "invalid", STRANGE, REPORT)
    Attempt.objects.update(log_tail=STRANGE)
    visitor = visit(width=390)
    places = [reverse(f"admin:{name}_changelist") for name in ("tasks_app_task", *LISTS)]
    places += [reverse("admin:tasks_app_task_change", args=[task.task_id]), "/admin/"]
    places += [reverse("admin:tasks_app_run_change", args=[run.pk])]
    wide = {}
    for place in places:
        page = visitor.open(place)
        assert page.locator("img[src=x]").count() == 0, place
        wide[place] = visitor.overflow_px()
    assert set(wide.values()) == {0}, wide


def tab_to(page: Page, selector: str) -> None:
    """Press the tabulator until what has the focus matches."""
    for _ in range(TABS_MOST):
        page.keyboard.press("Tab")
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"no key leads to {selector}")


def test_the_last_failure_is_found_read_and_retried_by_keys_alone(visit: Visit):
    task = spawn_note(max_retries=0)
    fail_attempt(claim_one(make_worker()), "invalid", "no such file", REPORT)
    Attempt.objects.update(log_tail="SEVERE: no such file")
    visitor = visit()
    page = visitor.open("/admin/")
    tab_to(page, "[data-live=failures] a[href*='/change/']")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/{task.task_id}/change/")
    tab_to(page, "[data-live=operations] a[href*='retry']")
    tab_to(page, "pre.log")
    expect(page.locator("pre.log")).to_contain_text("SEVERE: no such file", timeout=60_000)
    page.locator("[data-live=operations] a[href*='retry']").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("input[name=reason]")
    tab_to(page, "input[name=reason]")
    page.keyboard.type("the file is there now")
    page.keyboard.press("Enter")
    expect(page.locator("h1 .pill")).to_contain_text("pending", timeout=60_000)
