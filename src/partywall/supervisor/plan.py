"""Which processes a deployment has, in the order of their start, and what each may see."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import partywall
from partywall.settings import Home, Settings
from partywall.store import cluster
from partywall.supervisor import readiness
from partywall.supervisor.child import Program, View
from partywall.supervisor.identity import Isolation
from partywall.supervisor.layout import INSTANCES

SERVE: Final = (sys.executable, "-P", "-m", "partywall.app", "serve")
POSTGRES_STOP_S: Final = 10.0
SERVICE_STOP_S: Final = 5.0


def environment(home: Home) -> dict[str, str]:
    """Return all that a child finds in its environment: no secret, and nothing of the starter's."""
    return {
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        "PARTYWALL_HOME": str(home.path),
        "PYTHONDONTWRITEBYTECODE": "1",
        "MALLOC_ARENA_MAX": "2",
    }


def view(home: Home, extra: Iterable[Path] = ()) -> View:
    """Return what children must reach: the interpreter, its environment, this package, and the home."""
    folders = {sys.base_prefix, sys.base_exec_prefix, sys.prefix, str(Path(partywall.__file__).parents[1])}
    folders |= {path for path in sys.path if path.endswith(("site-packages", "dist-packages"))}
    folders |= {str(path) for path in extra}
    folders |= {str(Path(folder).resolve()) for folder in folders}
    return View((str(home.path),), tuple(sorted(folder for folder in folders if Path(folder).is_dir())))


def stages(
    home: Home, settings: Settings, isolation: Isolation, listener: socket.socket, serve: Sequence[str] = SERVE
) -> list[list[Program]]:
    """Return the programs; a stage starts when what the one before waits for is ready."""
    plan = _Plan(home, settings, isolation, tuple(serve))
    databases = [plan.postgres(instance) for instance in INSTANCES if not _is_external(settings, instance)]
    ledger = plan.service("ledger", readiness.accepts(home.ledger_socket))
    issuer = plan.service("issuer", readiness.accepts(home.issuer_socket))
    model = [plan.model()] if settings.model.enabled else []
    gateways = [plan.gateway(index, listener) for index in range(settings.gateway.workers)]
    embeddings = [plan.embeddings()] if settings.embeddings.enabled else []
    return [databases, [issuer], [ledger, *model, *embeddings], gateways]


def _is_external(settings: Settings, instance: str) -> bool:
    given = settings.store.control_dsn_file if instance == "control" else settings.store.data_dsn_file
    return given is not None


class _Plan:
    def __init__(self, home: Home, settings: Settings, isolation: Isolation, serve: tuple[str, ...]) -> None:
        self._home = home
        self._settings = settings
        self._isolation = isolation
        self._serve = serve
        self._environment = environment(home)

    def postgres(self, instance: str) -> Program:
        """A fast shutdown is asked for with SIGINT; on the supervisor's death SIGQUIT ends all its backends at once."""
        name = f"postgres-{instance}"
        return Program(
            name=name,
            identity=self._isolation.of(name),
            argv=tuple(cluster.server_argv(self._home, instance)),
            ready=readiness.postgres_ready(
                self._home.postgres_socket_dir(instance), self._home.postgres_data(instance)
            ),
            log_path=self._home.log(name),
            environment=self._environment,
            stop_signal=signal.SIGINT,
            stop_timeout_s=POSTGRES_STOP_S,
            death_signal=signal.SIGQUIT,
            before=partial(cluster.drop_empty_lock, self._home, instance),
        )

    def service(self, name: str, ready: readiness.Probe) -> Program:
        return Program(
            name=name,
            identity=self._isolation.of(name),
            argv=(*self._serve, name),
            ready=ready,
            log_path=self._home.log(name),
            environment=self._environment,
            stop_timeout_s=SERVICE_STOP_S,
        )

    def model(self) -> Program:
        """Loading the weights takes longer than all the rest: nothing waits for it."""
        return Program(
            name="model",
            identity=self._isolation.of("model"),
            argv=(*self._serve, "model"),
            ready=readiness.file_exists(self._home.run / "model" / "port"),
            log_path=self._home.log("model"),
            environment=self._environment,
            wait=False,
            stop_timeout_s=SERVICE_STOP_S,
        )

    def embeddings(self) -> Program:
        """Nothing waits for it, either. Its libraries start no threads beside those that it is given, and reach nobody:
        onnxruntime reports to its maker unless it is told not to.
        """
        bounds = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS"), "1")
        quiet = {"ORT_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
        return Program(
            name="embeddings",
            identity=self._isolation.of("embeddings"),
            argv=(*self._serve, "embeddings"),
            ready=readiness.accepts(self._home.embeddings_socket),
            log_path=self._home.log("embeddings"),
            environment={**self._environment, **bounds, **quiet},
            network=False,
            wait=False,
            stop_timeout_s=SERVICE_STOP_S,
        )

    def gateway(self, index: int, listener: socket.socket) -> Program:
        """All workers accept on the one socket that the supervisor bound: a restart refuses nobody."""
        host, port = listener.getsockname()[:2]
        return Program(
            name=f"gateway-{index}",
            identity=self._isolation.of("gateway"),
            argv=(*self._serve, f"gateway-{index}", "--listener", str(listener.fileno())),
            ready=readiness.http_answers(host, port, "/readyz"),
            log_path=self._home.log(f"gateway-{index}"),
            environment=self._environment,
            pass_fds=(listener.fileno(),),
            stop_timeout_s=self._settings.gateway.drain_s + SERVICE_STOP_S,
        )
