"""What a process that ends at once after its commit still says."""

from __future__ import annotations

import asyncio

import pytest
from channels.layers import get_channel_layer

from tasks_app.engine.notify import GROUP, MESSAGE, Publisher
from tests.tasks_app.management.commands import run

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("number", range(3))
async def test_a_command_that_spawns_wakes_the_feed_before_it_ends(live_environment, number):
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    environment = {**live_environment, "ABSURD_DIAGNOSTICS": "true"}
    done = await asyncio.to_thread(run, environment, "absurd_spawn", "echo", "value=1")
    assert done.returncode == 0, done.stderr
    assert await layer.receive(channel) == MESSAGE
    await layer.group_discard(GROUP, channel)


async def test_a_publisher_that_was_ended_announces_again():
    layer = get_channel_layer()
    channel = await layer.new_channel()
    await layer.group_add(GROUP, channel)
    publisher = Publisher()
    for _ in range(2):
        publisher.announce()
        await asyncio.to_thread(publisher.finish)
        assert await layer.receive(channel) == MESSAGE
    assert publisher.failures == 0
    await layer.group_discard(GROUP, channel)
