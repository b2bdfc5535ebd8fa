"""Hosts of a small network on one machine: each has its own network, mounts, processes and name, by Linux namespaces.

A host is a process that holds the namespaces. When it ends the kernel ends all that runs on the host and removes its
interfaces and mounts; it ends with the tests, however they end.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import psutil

from workers.gameday.processes import end_with_parent

T = TypeVar("T")
CHECKOUT = Path(__file__).resolve().parents[2]
CLONE_NEWNET = 0x40000000
NETWORK = "10.87.0"
PATIENCE_SEC = 240.0
"""Against hanging for ever."""
_HOLDER = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("ready", flush=True)
while True:
    signal.pause()
"""
"""The first process of a host: it reaps what nobody waits for."""


class NotPossible(Exception):
    """This machine does not let us make hosts; the text says why."""


def run(*command: str) -> str:
    """Run a program, which must end with code 0, and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Host:
    """One host: a name, an address, and programs that run there."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.address = name, f"{NETWORK}.{number}"
        command = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--kill-child"]
        self._unshare = subprocess.Popen(
            [*command, sys.executable, "-c", _HOLDER], stdout=subprocess.PIPE, text=True, preexec_fn=end_with_parent
        )
        if self._unshare.stdout is None or self._unshare.stdout.readline() != "ready\n":
            raise NotPossible("unshare cannot make namespaces here")
        self._started: list[subprocess.Popen[bytes]] = []
        (holder,) = psutil.Process(self._unshare.pid).children()
        self.pid = holder.pid
        self._visitors = ThreadPoolExecutor(4, f"on-{name}", initializer=self._enter_network)
        self.run("hostname", name)
        self.run("ip", "link", "set", "lo", "up")

    def _enter_network(self) -> None:
        with Path(f"/proc/{self.pid}/ns/net").open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")

    def visit(self, work: Callable[[], T]) -> Any:
        """Return a future of the work, done in a thread of this process whose sockets are those of the host."""
        return self._visitors.submit(work)

    def do(self, work: Callable[[], T]) -> T:
        """Return what the work returns when its sockets are those of the host."""
        return self._visitors.submit(work).result(PATIENCE_SEC)

    def inside(self, *command: str) -> list[str]:
        """Return the command line that runs a command on the host."""
        return ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-i", "-p", f"--wd={CHECKOUT}", *command]

    def run(self, *command: str, environment: Mapping[str, str] | None = None) -> str:
        """Run a program on the host; return what it prints."""
        done = subprocess.run(
            self.inside(*command), env=environment, capture_output=True, text=True, check=False, timeout=PATIENCE_SEC
        )
        assert done.returncode == 0, f"{self.name}: {' '.join(command)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Start a program on the host, which writes to a log."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                self.inside(*command),
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        self._started.append(process)
        return process

    def mount(self, source: Path, place: Path) -> None:
        self.run("mount", "--bind", str(source), str(place))

    def unmount(self, place: Path) -> None:
        """Take a file system away, also from under programs that use it."""
        self.run("umount", "--lazy", str(place))

    def end(self) -> None:
        """End everything on the host."""
        self._unshare.kill()  # and the kernel its child, and with that all
        self._unshare.communicate()
        for process in self._started:
            process.wait()
        self._visitors.shutdown(wait=False, cancel_futures=True)


class Network:
    """Hosts at one switch, whose cables can be pulled out and put back."""

    def __init__(self) -> None:
        self._switch = Host("switch", 254)
        self.hosts: list[Host] = [self._switch]
        self._switch.run("ip", "link", "add", "br0", "type", "bridge")
        self._switch.run("ip", "link", "set", "br0", "up")

    def add(self, name: str) -> Host:
        """Return a new host at the switch."""
        host = Host(name, len(self.hosts))
        self.hosts.append(host)
        # In the network of the switch, but with the process ids of this machine.
        switch = ("nsenter", "-t", str(self._switch.pid), "-n")
        port = ("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(host.pid))
        run(*switch, *port)
        run(*switch, "ip", "link", "set", name, "up")
        self.heal(host)
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "eth0")
        host.run("ip", "link", "set", "eth0", "up")
        return host

    def cut(self, host: Host) -> None:
        """Let nothing through to or from a host, which gets no error."""
        self._switch.run("ip", "link", "set", host.name, "nomaster")

    def heal(self, host: Host) -> None:
        self._switch.run("ip", "link", "set", host.name, "master", "br0")

    def end(self) -> None:
        for host in self.hosts:
            host.end()
