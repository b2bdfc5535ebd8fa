"""The page `first-task.md`, run as a reader would run it: its files in an empty directory, its commands in a shell."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.daphne_server import free_port
from tests.documents import blocks

PAGE = "first-task.md"
RUN_SEC = 300


class Reader:
    """A shell in an empty directory, with the variables that earlier commands have exported."""

    def __init__(self, directory: Path, path: str, environment: Mapping[str, str]) -> None:
        directory.mkdir()
        self.directory = directory
        self.commands = blocks(PAGE, "sh")
        own = {"PATH": path, "HOME": str(directory), "ABSURD_VAR": str(directory / "var")}
        self._environment = {**environment, **own, "ABSURD_PORT": str(free_port())}
        for title, text in {**blocks(PAGE), **blocks(PAGE, "toml")}.items():
            (directory / title).write_text(text)

    def run(self, title: str) -> subprocess.CompletedProcess[str]:
        """Run the commands of one block; what it exports holds for the next."""
        exported = self.directory / "exported"
        script = f"set -e\n{self.commands[title]}\nenv -0 > '{exported}'"
        with (self.directory / "output").open("w+") as output:
            # Not a pipe: what goes on in the background would hold it open.
            done = subprocess.run(
                ["bash", "-c", script], cwd=self.directory, env=self._environment, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, timeout=RUN_SEC,
            )  # fmt: skip
            output.seek(0)
            text = output.read()
        if done.returncode == 0:
            pairs = exported.read_text().split("\0")
            self._environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        return subprocess.CompletedProcess(title, done.returncode, text)

    def succeed(self, title: str) -> str:
        """Run a block that must succeed; return what it wrote."""
        done = self.run(title)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def end(self) -> None:
        """Stop the system, whatever state it is in."""
        self.run("stop")
