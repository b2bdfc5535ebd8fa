from __future__ import annotations

import time

from tasks_app.models.task import new_task_id, short_id


def test_ids_are_of_version_7_and_stand_in_the_order_of_their_making():
    before_ms = time.time_ns() // 1_000_000
    ids = [new_task_id() for _ in range(1000)]
    after_ms = time.time_ns() // 1_000_000
    assert {(each.version, each.variant) for each in ids} == {(7, "specified in RFC 4122")}
    assert all(before_ms <= each.int >> 80 <= after_ms for each in ids)
    moments = [each.int >> 80 for each in ids]
    assert moments == sorted(moments)


def test_short_forms_of_ids_made_together_differ():
    assert len({short_id(new_task_id()) for _ in range(1000)}) == 1000
