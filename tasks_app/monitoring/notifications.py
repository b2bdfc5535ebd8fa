"""Notices about what needs attention: each fault is sent once, and that it is over; several in one message.

Quiet hours are kept. A fault is stored as sent before it is sent. A process that ends between the two loses that
notice, but no restart and no second web process ever repeats one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import Max, Q

from tasks_app.formats import without_passwords
from tasks_app.models import Notice
from tasks_app.monitoring import health
from tasks_app.monitoring.channels import Line, send
from tasks_app.monitoring.health import Health
from tasks_app.postgresql import clock

LOOK_SEC = 15.0
STANDS_FOR = timedelta(seconds=30)
"""A fault that is gone sooner is not sent."""
GONE_AFTER = timedelta(minutes=10)
"""One that comes back within this time is the same fault; afterwards it is over, which is sent too."""
OVER = "over"
LOCK = 0x4162_6E6F_7469
TRIES_MOST = 3
LINES_MOST = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault of health, with what makes it the same one later."""

    key: str
    line: Line


def start() -> threading.Thread | None:
    """Look and send in a daemon thread until the process ends, if there is somebody to send to."""
    if not settings.ABSURD_NOTIFY:
        return None
    thread = threading.Thread(target=_run, name="notifier", daemon=True)
    thread.start()
    return thread


def _run() -> None:
    failing = False
    while True:
        time.sleep(LOOK_SEC)
        try:
            look()
            failing = False
        except Exception as error:  # it must outlive any outage; each kind of failure is logged once
            if not failing:
                logger.warning("notices failed and are retried: %s", error)
            failing = True
            connection.close()


def look() -> int:
    """Compare health with what is known, and send what is due; return how many faults, new or over, were sent."""
    due = take_due(health.check())
    if not due:
        return 0
    lines = [_line(each) for each in due]
    delivered = [_delivered(address, lines[:LINES_MOST]) for address in settings.ABSURD_NOTIFY]
    if any(delivered):
        return len(lines)
    again = [each.pk for each in due if each.state != OVER and each.tries < TRIES_MOST]
    Notice.objects.filter(pk__in=again).update(sent_at=None)
    return 0


def _line(notice: Notice) -> Line:
    return Line(
        check=notice.check_name,
        state=notice.state,
        message=notice.message,
        remedy="" if notice.state == OVER else notice.remedy,
        first_seen_at=clock.stamp(notice.first_seen_at.replace(microsecond=0)),
    )


def _delivered(address: str, lines: list[Line]) -> bool:
    try:
        send(address, lines)
    except Exception as error:  # whatever a mail or web server makes of it
        shown = address if address.startswith("mailto:") else address.split("/")[2]  # the rest of a hook is a secret
        logger.warning("no notice could be sent to %s: %s", shown, without_passwords(type(error).__name__))
        return False
    return True


def take_due(found: Health) -> list[Notice]:
    """Store the faults of health, and return those to send now, marked as sent: new ones, then those that are over."""
    moment = clock.now()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        _store(faults_of(found), moment)
        _end_gone(moment)
        last = Notice.objects.aggregate(last=Max("sent_at"))["last"]
        if last is not None and (moment - last).total_seconds() < settings.ABSURD_NOTIFY_EVERY_SEC:
            return []
        is_new = Q(sent_at=None, first_seen_at__lte=moment - STANDS_FOR, last_seen_at=moment)
        due = Notice.objects.filter(is_new | Q(state=OVER, tries=0))
        if is_quiet(moment):
            due = due.filter(state="bad")
        taken = sorted(due.order_by("state", "first_seen_at"), key=lambda each: each.state == OVER)
        for each in taken:
            each.sent_at, each.tries = moment, each.tries + 1
        Notice.objects.bulk_update(taken, ["sent_at", "tries"])
        return taken


def _end_gone(moment: datetime) -> None:
    """Let the faults that are gone be sent as over, without those that were not sent or that got worse or better."""
    every = timedelta(seconds=settings.ABSURD_NOTIFY_EVERY_SEC)
    # Until then they show when the last message was sent.
    Notice.objects.filter(state=OVER, tries__gt=0, sent_at__lte=moment - every).delete()
    standing = {_place(each) for each in Notice.objects.filter(last_seen_at=moment)}
    for each in Notice.objects.filter(last_seen_at__lt=moment - GONE_AFTER).exclude(state=OVER):
        if each.sent_at is None or _place(each) in standing:
            each.delete()
        else:
            each.key, each.state, each.tries = f"{OVER}|{each.pk}", OVER, 0
            each.save()


def _place(notice: Notice) -> tuple[str, str]:
    """Return what a fault is about, whichever its state."""
    return notice.check_name, notice.key.split("|", 2)[2]


def faults_of(found: Health) -> list[Fault]:
    """Return the faults of health: one for each row that has it, where the check names rows."""
    faults = []
    if found.status == "disabled":
        faults.append(_fault("system", "bad", "", found.message, "enable it (manage.py absurd_enable)"))
    for check in found.checks:
        if check.state == "ok":
            continue
        named = [(f"{each.kind}:{each.key}", each.message) for each in check.subjects] or [(check.place, check.message)]
        faults += [_fault(check.name, check.state, place, message, check.advice) for place, message in named]
    return faults


def _fault(check: str, state: str, place: str, message: str, remedy: str) -> Fault:
    line = Line(check=check, state=state, message=message, remedy=remedy, first_seen_at="")
    return Fault(key=f"{check}|{state}|{place}"[:300], line=line)


def _store(faults: Iterable[Fault], moment: datetime) -> None:
    rows = {
        each.key: Notice(
            key=each.key, check_name=each.line.check, state=each.line.state, message=each.line.message,
            remedy=each.line.remedy, first_seen_at=moment, last_seen_at=moment,
        )
        for each in faults
    }  # fmt: skip
    changing = ["message", "remedy", "last_seen_at"]
    Notice.objects.bulk_create(rows.values(), update_conflicts=True, unique_fields=["key"], update_fields=changing)


def is_quiet(moment: datetime) -> bool:
    """Whether only bad faults are sent now; the hours are UTC and may pass midnight."""
    if settings.ABSURD_NOTIFY_QUIET is None:
        return False
    first, last = settings.ABSURD_NOTIFY_QUIET
    now = moment.hour * 60 + moment.minute
    return first <= now < last if first <= last else now >= first or now < last
