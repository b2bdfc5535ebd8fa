"""The live feed of the running system, as any other client sees it."""

from __future__ import annotations

import json
import queue
import threading
from pathlib import Path
from uuid import UUID

from websockets.exceptions import InvalidHandshake, WebSocketException
from websockets.sync.client import connect

from absurd_project.processing.progress import Change

RETRY_SEC = 1.0


class FeedListener:
    """Follows /ws/status in a thread; after a break it goes on from the last number it saw."""

    def __init__(self, port: int, api_key_file: Path) -> None:
        self._url = f"ws://127.0.0.1:{port}/ws/status"
        self._key_file = api_key_file
        self._changes: queue.SimpleQueue[Change] = queue.SimpleQueue()
        self._position: int | None = None
        self._stop = threading.Event()
        self._open = threading.Event()
        self._thread = threading.Thread(target=self._run, name="demo-feed", daemon=True)
        self.received = 0
        self.breaks = 0

    def start(self, patience_sec: float) -> None:
        """Connect. Raises TimeoutError when the feed does not open in time."""
        self._thread.start()
        if not self._open.wait(patience_sec):
            self._stop.set()
            raise TimeoutError(f"the feed {self._url} cannot be opened")

    def stop(self) -> None:
        """Disconnect."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def take(self) -> list[Change]:
        """Return the changes that have arrived since the last call."""
        changes = []
        while True:
            try:
                changes.append(self._changes.get_nowait())
            except queue.Empty:
                return changes

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._listen()
            except (OSError, InvalidHandshake, WebSocketException):
                self.breaks += self._open.is_set()
            self._stop.wait(RETRY_SEC)

    def _listen(self) -> None:
        since = "" if self._position is None else f"?since={self._position}"
        headers = {"X-API-Key": self._key_file.read_text().strip()} if self._key_file.exists() else {}
        with connect(self._url + since, additional_headers=headers, open_timeout=5) as socket:
            while not self._stop.is_set():
                try:
                    self._understand(json.loads(socket.recv(timeout=0.5)))
                except TimeoutError:
                    continue

    def _understand(self, message: dict[str, object]) -> None:
        self.received += 1
        if isinstance(message.get("event_id"), int):
            self._position = message["event_id"]  # type: ignore[assignment]
        if message["type"] == "hello":
            self._open.set()
        elif message["type"] == "task_update":
            update = dict(message["update"])  # type: ignore[call-overload]
            status = update.pop("status")
            self._changes.put(Change(task_id=UUID(str(message["task_id"])), status=status, update=update))
        elif message["type"] == "progress":
            update = {name: message[name] for name in ("progress", "progress_message")}
            self._changes.put(Change(task_id=UUID(str(message["task_id"])), status="claimed", update=update))
