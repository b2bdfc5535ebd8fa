"""The live feed: committed events in order, over WebSockets and server-sent events."""

from __future__ import annotations

from tasks_app.feed.reader import feed, positions

__all__ = ["feed", "positions"]
