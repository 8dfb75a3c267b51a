"""Entry points of the processes: web (gunicorn), worker, and ``serve``, which keeps one of each running."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from backend.alone import alone
from backend.settings import Settings
from backend.telemetry import configure_logging, logger

log = logger("server")

GRACE_S = 20
MAX_PAUSE_S = 30


def run_web(settings: Settings) -> None:
    """Serve HTTP until SIGTERM; requests that run are finished first."""
    from gunicorn.app.base import BaseApplication

    configure_logging(settings.log_level)
    _ = settings.webhook_token  # made now, for `connect`

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
                "loglevel": "warning",
                "when_ready": lambda _: end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM)),
            }
            for name, value in options.items():
                self.cfg.set(name, value)  # type: ignore[union-attr]

        def load(self) -> Any:
            from backend.pipeline.parts import build_parts
            from backend.web.app import create_app

            return create_app(build_parts(settings))

    Web().run()  # type: ignore[no-untyped-call]


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


def run_serve(settings: Settings) -> int:
    """Web and worker on one machine, each started again when it ends; the exit code."""
    configure_logging(settings.log_level)
    _ = settings.made_data_dir, settings.webhook_token  # made once, before two processes ask for it
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
            child = self._spawn()
            while child.poll() is None and not self._ending.wait(0.1):
                pass
            if self._ending.is_set():
                _end(child)
                return
            pause = 0.5 if time.monotonic() - started > MAX_PAUSE_S else min(pause * 2, MAX_PAUSE_S)
            log.warning("process ended, starting it again", process=self._role, code=child.returncode, pause_s=pause)
            self._ending.wait(pause)

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
