"""Entry points of the processes: web (gunicorn), worker, and ``serve``, which keeps one of each running."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from backend.alone import alone
from backend.errors import UserError
from backend.registry.storage import Storage
from backend.settings import Settings
from backend.telemetry import configure_logging, logger

log = logger("server")

GRACE_S = 20
MAX_PAUSE_S = 30


@contextmanager
def _saying_why(code: int = 1) -> Iterator[None]:
    """End with ``code`` after what a person can mend, said as a line of the log like all else."""
    try:
        yield
    except UserError as error:
        log.error("cannot run", reason=error.sentence())
        raise SystemExit(code) from None


@_saying_why()
def run_web(settings: Settings) -> None:
    """Serve HTTP until SIGTERM; requests that run are finished first."""
    from gunicorn.app.base import BaseApplication
    from gunicorn.arbiter import Arbiter
    from gunicorn.glogging import Logger

    configure_logging(settings.log_level)
    _ = settings.webhook_token  # made now, for `connect`

    class Lines(Logger):
        """Its messages go where all others go."""

        def setup(self, cfg: Any) -> None:
            super().setup(cfg)  # type: ignore[no-untyped-call]
            self.error_log.handlers.clear()
            self.error_log.propagate = True

    class Web(BaseApplication):
        def load_config(self) -> None:
            options: dict[str, Any] = {
                "bind": settings.address,
                "worker_class": "asgi",
                "workers": 1,  # one model in memory; the thread pool serves side by side
                "timeout": 300,
                "graceful_timeout": GRACE_S,
                "control_socket_disable": True,
                "accesslog": None,
                "logger_class": Lines,
                "loglevel": "warning",
                "when_ready": lambda _: end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM)),
            }
            for name, value in options.items():
                self.cfg.set(name, value)  # type: ignore[union-attr]

        def load(self) -> Any:
            from backend.pipeline.parts import build_parts
            from backend.web.app import create_app

            with _saying_why(Arbiter.APP_LOAD_ERROR):  # with another code this process would be started again for ever
                return create_app(build_parts(settings))

    Web().run()  # type: ignore[no-untyped-call]


@_saying_why()
def run_worker(settings: Settings) -> None:
    """Run jobs until SIGTERM; what is interrupted goes on at the next start."""
    configure_logging(settings.log_level)
    if hasattr(os, "nice"):
        os.nice(5)  # predictions come first
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    end_with_parent(stop.set)
    with alone(settings.made_data_dir, "End the other worker, or give this one a DATA_DIR and a WORKER_ID of its own."):
        from backend.pipeline.parts import build_parts
        from backend.pipeline.worker import Worker

        worker = Worker(build_parts(settings))
        worker.start()
        log.info("worker ready", worker=settings.worker_id, data=str(settings.data_dir))
        worker.run(stop)
        worker.stop()
    # a training or an encoding that runs would keep the process; it is taken up again at the next start
    os._exit(0)


@_saying_why()
def run_serve(settings: Settings) -> int:
    """Web and worker on one machine, each started again when it ends; the exit code."""
    configure_logging(settings.log_level)
    _ = settings.made_data_dir, settings.webhook_token  # made once, before two processes ask for it
    Storage(settings.storage, settings.data_dir)  # what is wrong now would be so at each new start
    _must_be_free(settings)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    keepers = [_Keeper(role, stop) for role in ("web", "worker")]
    for keeper in keepers:
        keeper.start()
    log.info("serving", address=f"http://{settings.address}", label_studio=settings.studio_url)
    stop.wait()
    for keeper in keepers:
        keeper.join(GRACE_S + 5)
    return 0


def _must_be_free(settings: Settings) -> None:
    """Raises UserError where nothing can listen at HOST and PORT, as gunicorn would."""
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                hint = "Set PORT to another one, or end what listens there."
                raise UserError(f"Port {settings.port} is in use.", hint) from None
            raise UserError(
                f"Nothing can listen at HOST {settings.host}, PORT {settings.port}: {error.strerror}.",
                "Set HOST to an address of this machine (0.0.0.0: all of them) and PORT to a number above 1023.",
            ) from None


def end_with_parent(end: Callable[[], None]) -> None:
    """Call ``end`` when the process that started us is gone, if it asked for that: its end of our stdin closes."""
    if os.environ.get("LS_ACTIVE_CHILD") != "1":
        return

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        end()

    threading.Thread(target=watch, daemon=True, name="parent").start()


class _Keeper(threading.Thread):
    """Keeps one child process running; pauses longer after each quick death, up to half a minute."""

    def __init__(self, role: str, stop: threading.Event) -> None:
        super().__init__(name=f"keep-{role}", daemon=True)
        self._role, self._ending = role, stop

    def run(self) -> None:
        pause = 0.5
        while not self._ending.is_set():
            started = time.monotonic()
            try:
                ended: dict[str, object] = {"code": self._keep(self._spawn())}
            except OSError as error:  # no memory, or too many processes, for now
                ended = {"reason": str(error)}
            pause = 0.5 if time.monotonic() - started > MAX_PAUSE_S else min(pause * 2, MAX_PAUSE_S)
            if not self._ending.is_set():
                log.warning("process ended, starting it again", process=self._role, pause_s=pause, **ended)
                self._ending.wait(pause)

    def _keep(self, child: "subprocess.Popen[bytes]") -> int:
        """Wait until the child ends by itself or is to; its exit code."""
        with child:
            while child.poll() is None and not self._ending.wait(0.1):
                pass
            if self._ending.is_set():
                _end(child)
            return child.wait()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        # small matrices only: more BLAS threads than one wait for each other longer than they compute
        environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ, "LS_ACTIVE_CHILD": "1"}
        return subprocess.Popen([sys.executable, "-m", "backend", self._role], stdin=subprocess.PIPE, env=environment)


def _end(child: "subprocess.Popen[bytes]") -> None:
    child.terminate()
    try:
        child.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
