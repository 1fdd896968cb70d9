"""The one frozen tree of configuration: read once, unknown keys refused, the defaults are the safe ones.

`$PARTYWALL_HOME/config.toml` holds what differs from the defaults. Secrets are files, named here and never read
here. `Home` says where everything lives and which process owns it.
"""

from __future__ import annotations

import ipaddress
import os
import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from partywall.errors import Malformed


class Home(msgspec.Struct, frozen=True):
    """Where a deployment lives. Every folder below it belongs to one process and is closed to the others."""

    path: Path

    @property
    def config(self) -> Path:
        """The operator's settings."""
        return self.path / "config.toml"

    @property
    def run(self) -> Path:
        """Sockets and state of running processes; made anew at each start."""
        return self.path / "run"

    @property
    def issuer_socket(self) -> Path:
        """Workers enrol and hand over operator actions here."""
        return self.run / "issuer" / "issuer.sock"

    @property
    def ledger_socket(self) -> Path:
        """Workers append and read here."""
        return self.run / "ledger" / "ledger.sock"

    def postgres_socket_dir(self, instance: str) -> Path:
        """Folder of the socket of the `control` or `data` Postgres."""
        return self.run / f"postgres-{instance}"

    def postgres_data(self, instance: str) -> Path:
        """PGDATA of the `control` or `data` Postgres (owner: its own uid)."""
        return self.path / "postgres" / instance

    @property
    def issuer(self) -> Path:
        """Token and permit signing keys (owner: issuer, 0700)."""
        return self.path / "issuer"

    @property
    def ledger(self) -> Path:
        """Logs and the checkpoint key (owner: ledger, 0700)."""
        return self.path / "ledger"

    @property
    def kek(self) -> Path:
        """File-backed key-encryption keys of the ledger process (owner: ledger, 0700)."""
        return self.path / "ledger" / "kek"

    @property
    def model(self) -> Path:
        """What the model server remembers: the port that tenants' models name (owner: model, 0700)."""
        return self.path / "model"

    @property
    def embeddings_socket(self) -> Path:
        """Workers have texts embedded here."""
        return self.run / "embeddings" / "embeddings.sock"

    def secrets(self, process: str) -> Path:
        """DSNs and other secrets of one process, written at start-up (owner: that process, 0700)."""
        return self.path / "secrets" / process

    def log(self, process: str) -> Path:
        """The log file of one process: JSON lines, allow-listed fields."""
        return self.path / "log" / f"{process}.log"

    @property
    def bootstrap_token(self) -> Path:
        """The one-time token for the first operator key, until it is used (owner: issuer, 0600; `up` prints it)."""
        return self.issuer / "bootstrap-token"

    @property
    def public_keys(self) -> Path:
        """The issuer's public permit key and the ledger's public checkpoint key (world-readable)."""
        return self.path / "public"


class GatewaySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Doors. Sizes in bytes, times in seconds.

    public_url: what callers know this deployment by (`https://wall.example.com`), for OAuth documents and the audience
    of tokens; None: where it listens. A request's Host header never says it.
    """

    host: str = "127.0.0.1"
    port: int = 8470
    public_url: Annotated[str, Meta(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+\Z", max_length=255)] | None = None
    workers: int = 1
    body_limit_bytes: int = 1_048_576
    reply_limit_bytes: int = 16_777_216
    request_timeout_s: float = 120.0
    upstream_timeout_s: float = 60.0
    drain_s: float = 10.0
    concurrent_limit: int = 1024
    facts_limit_age_s: float = 5.0
    stream_recheck_s: float = 5.0


class IssuerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lives of credentials, in seconds."""

    access_token_s: float = 900.0
    api_key_s: float = 90 * 86_400.0
    key_rotation_s: float = 86_400.0
    bootstrap_s: float = 3_600.0


class FederationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Identity providers that tenants and organisations trust.

    trust_domain: of our own SPIFFE ids, and the audience of transaction tokens. private_hosts: names (or literal
    addresses) of providers that may lie at private addresses; any other must be public. loopback_http: providers on
    this machine by plain http, for development.
    """

    trust_domain: str = "partywall.local"
    private_hosts: tuple[str, ...] = ()
    loopback_http: bool = False


class ToolSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where tenants' tool servers may lie, beside public addresses.

    private_networks: CIDR, such as `10.1.0.0/16`. loopback: on this machine itself, for development.
    """

    private_networks: tuple[str, ...] = ()
    loopback: bool = False

    def __post_init__(self) -> None:
        """Raises: ValueError for what is no network."""
        for network in self.private_networks:
            ipaddress.ip_network(network)


class ClientSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One OAuth client that has no metadata document. redirect_uris: https, or http on loopback (any port there)."""

    redirect_uris: tuple[Annotated[str, Meta(min_length=1, max_length=512)], ...]
    name: Annotated[str, Meta(max_length=64)] = ""


class SignInSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sign-in of people. clients: by client_id (`[sign_in.clients.NAME]`), beside our own command line.

    lasting_s: how long a sign-in may be renewed by refresh tokens, when a client asks for them; then it begins anew.
    """

    lasting_s: float = 43_200.0
    clients: dict[str, ClientSettings] = {}


class StoreSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Databases. *_dsn_file: a file that holds the owner's DSN of an external Postgres; None: embedded."""

    control_dsn_file: str | None = None
    data_dsn_file: str | None = None
    tenant_token_s: float = 30.0
    pool_limit: int = 16


class LedgerSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ledger process. reserve_bytes: what each open intent keeps free for its outcome.

    orphan_s: when an intent that is still open is closed as unknown; departed_s: when it is after its worker is gone.
    """

    origin: str = "partywall.local"
    reserve_bytes: int = 4_096
    checkpoint_s: float = 10.0
    orphan_s: float = 600.0
    sweep_s: float = 30.0
    departed_s: float = 5.0


class ModelSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The local model server. enabled=False: register upstreams of your own.

    threads: of one answer. With more than there are idle cores they wait for each other: 2 on two busy cores answer ten
    times slower than 1 (measured: 4 and 46 tokens a second).
    """

    enabled: bool = True
    threads: int = 1
    context_tokens: int = 4_096
    slots: int = 2


class EmbeddingSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The local embedding model (`local:minilm`). enabled=False: register models of your own. threads: of one text."""

    enabled: bool = True
    threads: int = 1


class CollectionSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """tenant_limit_bytes: of text and vectors, all of a tenant. exact_limit_chunks: larger ones get an index."""

    tenant_limit_bytes: int = 1_073_741_824
    exact_limit_chunks: int = 10_000


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of it. region: this deployment's; a token claim."""

    region: str = "local"
    gateway: GatewaySettings = GatewaySettings()
    issuer: IssuerSettings = IssuerSettings()
    federation: FederationSettings = FederationSettings()
    sign_in: SignInSettings = SignInSettings()
    store: StoreSettings = StoreSettings()
    ledger: LedgerSettings = LedgerSettings()
    model: ModelSettings = ModelSettings()
    embeddings: EmbeddingSettings = EmbeddingSettings()
    tools: ToolSettings = ToolSettings()
    collections: CollectionSettings = CollectionSettings()

    @property
    def public_url(self) -> str:
        """The deployment's own origin as browsers say it: lower case, no usual port, no slash at its end."""
        if self.gateway.public_url is not None:
            given = self.gateway.public_url.lower()
            return given.removesuffix(":443" if given.startswith("https") else ":80")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.gateway.host, self.gateway.host)  # noqa: S104
        return f"http://[{host}]:{self.gateway.port}" if ":" in host else f"http://{host}:{self.gateway.port}"


def default_home() -> Home:
    """Return $PARTYWALL_HOME, or `.partywall` in the home directory."""
    given = os.environ.get("PARTYWALL_HOME")
    return Home(Path(given).absolute() if given else Path.home() / ".partywall")


def load(home: Home) -> Settings:
    """Return the settings of a home. Raises: Malformed, naming the key that is wrong."""
    try:
        text = home.config.read_text()
    except FileNotFoundError:
        return Settings()
    try:
        return msgspec.convert(tomllib.loads(text), Settings)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Malformed(f"config.toml: {error}", code="bad-configuration") from error
