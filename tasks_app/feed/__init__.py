"""The live feed: committed events, in order, to sockets and event streams."""

from __future__ import annotations

from tasks_app.feed.reader import feed, positions

__all__ = ["feed", "positions"]
