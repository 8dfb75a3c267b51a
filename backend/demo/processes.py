"""A server as a child process: free ports, log file, readiness, orderly end.

Decision: each child is the leader of a process group of its own, so that Ctrl-C in a terminal reaches only the parent,
which then stops its children in order, and so that stopping one also stops what it started.
"""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from backend.errors import UserError

INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "LD_LIBRARY_PATH", "SYSTEMROOT")


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment(**variables: str) -> dict[str, str]:
    """``variables`` and the few things every program needs; no other setting of the caller's shell gets through."""
    return {name: os.environ[name] for name in INHERITED if name in os.environ} | variables


class ChildFailed(UserError):
    """A child process ended, or did not become ready; the message holds the end of its log."""

    status = 500


class Child:
    """A running server: ``name`` for messages, its log file, and the way to end it."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path) -> None:
        """Starts ``command``; stdout and stderr are appended to ``log``."""
        self.name, self.log = name, log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                list(command), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env=dict(env), cwd=cwd, start_new_session=True,
            )  # fmt: skip

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        """False once the process has ended."""
        return self._process.poll() is None

    def check(self) -> None:
        """Raises ChildFailed with the end of the log when the process has ended by itself."""
        if not self.alive():
            raise ChildFailed(f"{self.name} ended with exit code {self._process.returncode}.\n{self.log_tail()}")

    def wait_until(self, ready: Callable[[], bool], timeout_s: float) -> None:
        """Returns when ``ready()`` is true; raises ChildFailed when the process ends or ``timeout_s`` has passed."""
        deadline = time.monotonic() + timeout_s
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise ChildFailed(f"{self.name} was not ready after {timeout_s:.0f} s.\n{self.log_tail()}")
            time.sleep(0.1)

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of the log, without its empty lines."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join([line for line in text.splitlines() if line.strip()][-lines:])

    def stop(self, timeout_s: float = 20) -> int:
        """The exit code, after SIGTERM and, when that is not heeded in time, SIGKILL.

        Only the server itself is asked to end, since it knows how to end what it started; what it leaves is killed.
        """
        if self.alive():
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
        with suppress(ProcessLookupError):  # nothing is left, as it should be
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()
