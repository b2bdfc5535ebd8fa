"""How many pilots there are to be: more while tasks wait that no worker takes, fewer by themselves, none in a storm."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import takewhile

from django.db import connection, transaction
from django.db.models import F, Q
from django.db.models.functions import Greatest

from tasks_app import formats
from tasks_app.engine import registry, system_state
from tasks_app.models import Attempt, Freeze, Task, TaskStatus, Worker
from tasks_app.postgresql import clock
from workers.models import Pilot, PilotOutcome
from workers.pilots.batch import Batch, BatchError
from workers.pilots.options import Options

LOCK = 0x50494C4F
"""First key of the advisory locks by which two controllers of one name take turns."""
SEEN_AFTER = timedelta(seconds=30)
"""A batch system may not list a job at once, and a worker that has just reported has not claimed yet."""
UNKNOWN_AFTER = timedelta(minutes=10)
"""A pilot whose controller died while it submitted it, and whose worker has not reported, is given up."""
KEPT = timedelta(days=30)
BACKOFF, BACKOFF_MOST = timedelta(seconds=30), timedelta(minutes=30)
ENDS_READ = 200
UNFIT_COUNTED = 1000


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one look found and did."""

    waiting: int
    """Tasks that no worker has claimed for long enough, counted no further than the most that pilots could take."""
    unfit: int
    """Tasks that wait as long, but whose timeout or memory no pilot has."""
    running: int
    """Pilots whose workers have reported."""
    starting: int
    submitted: list[str] = field(default_factory=list)
    ended: dict[str, str] = field(default_factory=dict)
    """The outcome of each pilot that has ended."""
    held_until: datetime | None = None
    """No pilot is submitted before, because the last ones did nothing."""
    fault: str = ""

    def lines(self, *, dry_run: bool = False) -> list[str]:
        """Return what is worth a line."""
        lines = [f"pilot {name} has ended: {PilotOutcome(outcome).label}" for name, outcome in self.ended.items()]
        if self.submitted:
            pilots = f"{formats.count(len(self.submitted), 'pilot')}: {', '.join(self.submitted)}"
            done = "would submit" if dry_run else "submitted"
            lines.append(f"waiting: {formats.count(self.waiting, 'task')}; {done} {pilots}")
        elif self.held_until is not None and self.waiting:
            lines.append(f"the last pilots did nothing: none is submitted before {formats.moment(self.held_until)}")
        if self.unfit:
            lines.append(f"no pilot has the time or memory for {formats.count(self.unfit, 'task')}")
        return [*lines, self.fault] if self.fault else lines


class Controller:
    """Submits pilots and notes their ends. All it knows is in the database, so that a restarted one goes on."""

    def __init__(self, options: Options, batch: Batch) -> None:
        self._options, self._batch = options, batch

    @property
    def open(self) -> list[Pilot]:
        """Its pilots that have not ended."""
        return list(Pilot.objects.filter(group=self._options.name, ended_at=None))

    def step(self, *, dry_run: bool = False) -> Step:
        """Look once and do what is due, or with `dry_run` only return it. Raises BatchError where it cannot look."""
        asked_at = clock.now()
        listed = self._batch.listed()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", [LOCK, self._options.name])
            ended = self._note_ends(listed, asked_at)
            step, pilots = self._plan(ended)
            if dry_run:
                transaction.set_rollback(True)
        return step if dry_run else self._submit(step, pilots)

    def cancel(self) -> int:
        """Cancel all pilots; return how many. Their workers drain, and note the end of their jobs themselves."""
        pilots = [pilot for pilot in self.open if pilot.native_id]
        for pilot in pilots:
            self._batch.cancel(pilot.native_id)
        return len(pilots)

    def _note_ends(self, listed: set[str], asked_at: datetime) -> dict[str, str]:
        """Note which pilots have ended: their job is gone and no worker of theirs is live."""
        ended = {}
        live = set(Worker.objects.live().values_list("label", flat=True))
        for pilot in self.open:
            known_for = SEEN_AFTER if pilot.native_id else UNKNOWN_AFTER
            if pilot.name in live or pilot.native_id in listed or pilot.submitted_at + known_for > asked_at:
                continue
            pilot.outcome, pilot.ended_at = self._outcome(pilot), asked_at
            if pilot.outcome == PilotOutcome.FAILED:
                pilot.message = self._batch.last_words(pilot)
            pilot.save(update_fields=["outcome", "ended_at", "message"])
            # Killed with its job, its worker could not say that it ended; no operator has to look for it.
            Worker.objects.filter(label=pilot.name, stopped_at=None).update(stopped_at=asked_at)
            ended[pilot.name] = str(pilot.outcome)
        old = Pilot.objects.filter(group=self._options.name, ended_at__lt=asked_at - KEPT)
        old.delete()
        return ended

    def _outcome(self, pilot: Pilot) -> PilotOutcome:
        if Attempt.objects.filter(worker__label=pilot.name).exists():
            return PilotOutcome.WORKED
        return PilotOutcome.IDLE if Worker.objects.filter(label=pilot.name).exists() else PilotOutcome.FAILED

    def _plan(self, ended: dict[str, str]) -> tuple[Step, list[Pilot]]:
        """Return what was found, and the rows of the pilots that are to be submitted."""
        options, pilots, moment = self._options, self.open, clock.now()
        reported = Worker.objects.filter(label__in=[pilot.name for pilot in pilots])
        running = set(reported.values_list("label", flat=True))
        settled = set(reported.filter(started_at__lt=moment - SEEN_AFTER).values_list("label", flat=True))
        settled |= set(Attempt.objects.filter(worker__in=reported).values_list("worker__label", flat=True))
        waiting, unfit = self._demand(moment)
        more = max(0, math.ceil(waiting / options.tasks_per_pilot) - (len(pilots) - len(settled)))
        wanted = min(max(len(pilots) + more, options.least), options.most) - len(pilots)
        held_until, failing = self._held_until()
        if failing:  # one pilot tries whether the cause is gone
            wanted = 0 if held_until is not None and moment < held_until else min(wanted, 1)
        standing = options.least - sum(pilot.standing for pilot in pilots)
        new = [self._new(standing=number < standing) for number in range(wanted)]
        step = Step(
            waiting=waiting,
            unfit=unfit,
            running=len(running),
            starting=len(pilots) - len(running),
            submitted=[pilot.name for pilot in new],
            ended=ended,
            held_until=held_until,
        )
        return step, Pilot.objects.bulk_create(new)

    def _new(self, *, standing: bool) -> Pilot:
        name = f"{self._options.name}-{secrets.token_hex(4)}"
        queues = list(self._options.queue_names)
        return Pilot(name=name, group=self._options.name, queues=queues, standing=standing)

    def _demand(self, moment: datetime) -> tuple[int, int]:
        """Return how many tasks wait that a pilot could take, and how many that none could.

        A task that has been claimable for `wait_sec` is one that no live worker takes, whatever slots they have.
        """
        if not system_state.is_enabled() or Freeze.objects.exists():
            return 0, 0
        options = self._options
        claimable = Task.objects.filter(
            status=TaskStatus.PENDING,
            hold=0,
            queue_id__in=options.queue_names,
            queue__paused_at=None,
            task_name__in=registry.names(),
        )
        since = Greatest(F("runnable_at"), F("joined_at"))
        waited = claimable.annotate(since=since).filter(since__lte=moment - timedelta(seconds=options.wait_sec))
        fits = Q(timeout_sec__lte=options.timeout_most_sec)
        if math.isfinite(options.task_memory_gb):
            fits &= Q(memory_gb__lte=options.task_memory_gb)
        keys, most = waited.order_by().values_list("pk"), options.most * options.tasks_per_pilot
        return len(keys.filter(fits)[:most]), len(keys.exclude(fits)[:UNFIT_COUNTED])

    def _held_until(self) -> tuple[datetime | None, bool]:
        """Return until when nothing is submitted, and whether the last pilots that ended had done nothing."""
        ends = Pilot.objects.filter(group=self._options.name).exclude(ended_at=None).order_by("-ended_at", "-id")
        fruitless = list(takewhile(_is_fruitless, ends[:ENDS_READ]))
        if not fruitless or fruitless[0].ended_at is None:
            return None, False
        tries = len({pilot.submitted_at for pilot in fruitless})
        return fruitless[0].ended_at + min(BACKOFF * 2 ** min(tries - 1, 10), BACKOFF_MOST), True

    def _submit(self, step: Step, pilots: Sequence[Pilot]) -> Step:
        """Submit the pilots; one that is refused ends this, and is noted as failed."""
        for number, pilot in enumerate(pilots):
            try:
                pilot.native_id = self._batch.submit(pilot)
            except BatchError as error:
                Pilot.objects.filter(pk__in=[each.pk for each in pilots[number + 1 :]]).delete()
                pilot.outcome, pilot.ended_at, pilot.message = PilotOutcome.FAILED, clock.now(), str(error)
                pilot.save(update_fields=["outcome", "ended_at", "message"])
                return replace(step, submitted=step.submitted[:number], fault=f"no pilot could be submitted: {error}")
            pilot.save(update_fields=["native_id"])
        return step


def _is_fruitless(pilot: Pilot) -> bool:
    return pilot.outcome == PilotOutcome.FAILED or (pilot.outcome == PilotOutcome.IDLE and not pilot.standing)
