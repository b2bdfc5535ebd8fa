"""`manage.py absurd_queues pause|resume`: operations on queues; absurd_stats lists them."""

from __future__ import annotations

from tasks_app.errors import QueueNotFound
from tasks_app.management.operations import Target, TargetCommand
from tasks_app.models import Queue


class Command(TargetCommand):
    help = "Pause and resume queues. Exit codes: 0 ok, 2 usage, 3 no such queue."
    target_kind = "queue"

    def find(self, text: str) -> Target:
        queue = Queue.objects.filter(name=text).first()
        if queue is None:
            raise QueueNotFound(text)
        return Target(key=text, label=text, identity={"queue_name": text}, row=queue)
