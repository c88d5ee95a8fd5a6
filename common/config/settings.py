"""All settings of all processes, with their defaults, units, bounds and meanings.

`common.config.loading` reads them. The table of `docs/reference/settings.md` is generated from
`Settings`.
"""

import re
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from common.config.networks import Network, parse_networks
from common.config.renamed import WithOldNames
from common.config.secret_files import WithSecretFiles
from common.config.store_urls import DATABASE_SCHEMES, REDIS_SCHEMES, check_url, with_authority
from common.model.channels import HISTORY_GROUP, KAFKA_GROUP

Port = Annotated[int, Field(ge=1, le=65535)]
# More than anybody needs, and within the range of Redis, which counts expiry in milliseconds.
Seconds = Annotated[float, Field(gt=0, le=1e9)]
Count = Annotated[int, Field(ge=1, le=2**40)]
Topic = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,249}$")]

_BROKER: Final = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_ORIGIN: Final = re.compile(r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[^/?#\s]+")
SECRETS: Final = ("redis_client", "database_url", "kafka_password")
"""Settings that are secrets or contain one: never shown, and readable from files, too."""
ENV_FILE: Final = ".env"


class ReaderPolicy(StrEnum):
    """Policy for a reader of the event stream that is too far behind."""

    REFUSE = "refuse"
    """New notifications are refused; nothing is lost."""
    DROP = "drop"
    """The oldest entries that it has not read are dropped; everything else goes on."""


class LogFormat(StrEnum):
    """Format of log lines: `auto` is `console` on a terminal and `json` elsewhere."""

    AUTO = "auto"
    JSON = "json"
    CONSOLE = "console"


class AuthMode(StrEnum):
    """Need for credentials: `open` lets everybody do everything."""

    OPEN = "open"
    REQUIRED = "required"


class Settings(BaseSettings):
    """Settings with their defaults, units and meanings. Names are upper case outside."""

    model_config = SettingsConfigDict(
        env_file=ENV_FILE,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    # Addresses to listen on and to connect to.
    host: str = Field(
        "127.0.0.1", min_length=1, description="Address that every process listens on."
    )
    port: Port = Field(8080, description="HTTP API (server).")
    ws_port: Port = Field(8081, description="WebSocket and health (gateway).")
    worker_port: Port = Field(8082, description="Health and metrics of the worker.")
    redis_client: SecretStr = Field(
        SecretStr("redis://127.0.0.1:6379/0"),
        description="URL of Redis or Valkey. If set in the environment, `make run` uses it instead "
        "of starting one.",
    )
    redis_client_file: str = Field(
        "",
        description="File that holds `REDIS_CLIENT` instead, to keep its password out of the "
        "environment.",
    )
    redis_ca_file: str = Field(
        "",
        validate_default=True,
        description="CA file (PEM) to trust besides the system's authorities if `REDIS_CLIENT` is "
        "`rediss://…`.",
    )
    server_processes: Count = Field(1, description="Server processes that share `PORT`.")
    worker_processes: Count = Field(1, description="Worker processes that share `WORKER_PORT`.")
    gateway_processes: Count = Field(1, description="Gateway processes that share `WS_PORT`.")

    database_url: SecretStr = Field(
        SecretStr(""),
        description="URL of PostgreSQL, for history and the inbox; empty turns both off. If set in "
        "the environment, `make run` uses it instead of starting one.",
    )
    database_url_file: str = Field("", description="File that holds `DATABASE_URL` instead.")
    kafka_brokers: str = Field(
        "",
        description="Kafka brokers, `host:port,…`; empty turns the bridge off. If set in the "
        "environment, `make run` uses them instead of starting one.",
    )
    history_port: Port = Field(8083, description="Health and metrics of the history writer.")
    kafka_bridge_port: Port = Field(8084, description="Health and metrics of the Kafka bridge.")
    history_processes: Count = Field(
        1, description="History writer processes that share `HISTORY_PORT`; one writes at a time."
    )
    kafka_bridge_processes: Count = Field(
        1, description="Bridge processes that share `KAFKA_BRIDGE_PORT`; one mirrors at a time."
    )

    # Authentication and authorization.
    auth_mode: AuthMode = Field(
        AuthMode.REQUIRED,
        description="`required`: every request needs an API key or a user token, every socket a "
        "token. `open`: nobody needs one, for development.",
    )
    client_registration: bool = Field(
        False, description="Whether anybody may make a client (`POST /clients`)."
    )
    allowed_origins: str = Field(
        "",
        description="Origins of pages that may connect and send requests, such as "
        "`https://app.example.com,https://example.org`; `*`: all. Empty: none; in "
        "open mode all.",
    )
    trusted_proxies: str = Field(
        "",
        description="Proxies whose `X-Forwarded-For` is trusted: addresses and networks, such as "
        "`10.0.0.5,fd00::/8`. Empty: none.",
    )
    token_max_ttl_s: Annotated[int, Field(ge=1, le=3_153_600_000)] = Field(
        86_400, description="Longest life of a user token that `POST /tokens` makes."
    )
    token_leeway_s: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="How far the clock of a user token's issuer may differ from ours: a token is "
        "valid for this long after its `exp`, and this long before its `nbf` and `iat`.",
    )
    ticket_ttl_s: Annotated[int, Field(ge=1, le=600)] = Field(
        30, description="How long an unused ticket (`POST /tickets`) stays valid."
    )

    # Limits. Those of clients apply to requests with credentials, also in open mode, but not to
    # those without; `PATCH /clients/{id}` sets others for one client.
    client_requests_per_s: Count = Field(
        1_000, description="Requests per second of one client, over all servers; more: 429."
    )
    client_notifications_per_day: Count = Field(
        10_000_000, description="Notifications per UTC day of one client; more: 429."
    )
    client_max_connections: Count = Field(
        50_000, description="Sockets of one client, over all gateways; one more is closed (4505)."
    )
    client_max_tickets: Count = Field(
        10_000, description="Unused tickets of one client; one more: 429."
    )
    client_max_recipients: Count = Field(
        1_000, description="Targets of one request of a client, over all items of a batch."
    )
    client_message_max_bytes: Count = Field(
        65_536,
        description="Largest `message`, and largest `data` (as written), of a client's "
        "notification.",
    )
    client_fan_out_bytes_per_s: Count = Field(
        67_108_864,
        description="Bytes that one client may fan out per second, over all servers: message and "
        "data times targets, of requests of 64 KiB and more; more: 429. A single larger "
        "notification takes the whole second.",
    )
    failed_attempts_per_minute: Annotated[int, Field(ge=0)] = Field(
        60,
        description="Refused credentials per minute of one address; past it, the address is "
        "answered 429 until the minute is over; 0: any number. Each process of server and gateway "
        "counts by itself. Off in open mode.",
    )

    # TLS on the ports of server and gateway.
    tls_cert_file: str = Field(
        "",
        description="Certificate (PEM, with its chain) for `PORT` and `WS_PORT`; empty: no TLS. "
        "The other ports stay plain.",
    )
    tls_key_file: str = Field(
        "", validate_default=True, description="Its private key (PEM, not encrypted)."
    )

    # Logs and files.
    log_level: str = Field(
        "INFO", pattern="^(DEBUG|INFO|WARNING|ERROR)$", description="Lowest level that is logged."
    )
    log_format: LogFormat = Field(
        LogFormat.AUTO, description="`json`, `console`, or `auto`: console on a terminal."
    )
    verbose: bool = Field(
        False,
        description="`make run` shows all log lines of its processes, not only warnings.",
    )
    data_dir: Path = Field(
        Path(".data"),
        description="Folder in which `make run` keeps Valkey's files, its logs and its own state.",
    )
    valkey_port: Port = Field(6390, description="Port of the Valkey that `make run` starts.")
    postgres_port: Port = Field(6391, description="Port of the PostgreSQL that `make run` starts.")
    kafka_port: Port = Field(6392, description="Port of the Kafka broker that `make run` starts.")

    # Acceptance (server).
    lane_max_jobs: Count = Field(
        500_000, description="Waiting jobs per lane; a full lane answers 503."
    )
    lane_client_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="Share of a lane that the waiting jobs of one client, or of all requests from "
        "Kafka, may take; more: 503. Set it to 1 if there is only one client. Off in open mode.",
    )
    redis_memory_max_ratio: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Share of Redis's maxmemory from which the server answers 503; it includes the "
        "memory that waiting jobs will take.",
    )
    idempotency_ttl_s: Count = Field(
        86_400, description="How long an Idempotency-Key is remembered."
    )
    accept_fsync: bool = Field(
        False, description="Answer 202 only after Redis's append-only file is on disk (WAITAOF)."
    )
    accept_timeout_s: Seconds = Field(
        5.0,
        description="How long a POST waits for Redis before its outcome counts as unknown (503).",
    )

    # Queue and publication (worker).
    lease_s: Seconds = Field(
        2.0, ge=0.5, description="A worker that is silent for this long loses its turns."
    )
    lane_loops: Count = Field(2, description="Loops per lane in one worker process.")
    take_max_turns: Annotated[int, Field(ge=1, le=64)] = Field(
        16, description="Turns that one loop takes at once, at most."
    )
    publish_max_jobs: Annotated[int, Field(ge=1, le=1000)] = Field(
        256, description="Publications in one atomic step, at most."
    )
    publish_max_bytes: Count = Field(
        1_048_576, description="Bytes in one atomic step, past which the rest waits for the next."
    )
    log_max_entries: Count = Field(1_000, description="Publications kept per channel.")
    log_ttl_s: Count = Field(
        300, description="How long a channel's log outlives its last publication."
    )
    channel_ttl_s: Count = Field(
        2_592_000, description="How long a channel's position outlives its last publication."
    )
    event_readers: str = Field(
        "",
        pattern=r"^([a-z]+(:(refuse|drop))?(,[a-z]+(:(refuse|drop))?)*)?$",
        description="Readers of the event stream, such as `history,kafka`: entries that one of "
        "them has not acknowledged are kept, up to `EVENTS_BOUND`. Past it, `history:refuse` "
        "refuses new notifications, and `kafka:drop` drops the oldest entries that the reader has "
        "not read. The default is `refuse`, but `drop` for Kafka if history reads as well.",
    )
    events_max_entries: Count = Field(
        100_000, description="Event stream entries kept while no reader is enabled (about)."
    )
    events_bound: Count = Field(
        2_000_000,
        description="Event stream entries at which new notifications are refused (503), because "
        "a reader is too far behind; a reader with `drop` loses the oldest from nine tenths on.",
    )
    dead_max_entries: Count = Field(
        100_000, description="Dead letters kept of each client (about)."
    )

    # History and Kafka.
    reader_niceness: Annotated[int, Field(ge=0, le=19)] = Field(
        10,
        description="Niceness (see nice(1)) of the history writer and the Kafka bridge, and of "
        "PostgreSQL and Kafka of `make run`: how far they give way on a busy machine.",
    )

    # History and inbox.
    history_batch_max: Annotated[int, Field(ge=1, le=50_000)] = Field(
        5_000, description="Events written to PostgreSQL at once, at most."
    )
    history_delay_s: float = Field(
        0.2,
        ge=0,
        le=3_600,
        description="How long events are collected into a batch before they are written.",
    )
    history_retention_days: Annotated[int, Field(ge=1, le=36_500)] = Field(
        30, description="How long history is kept."
    )
    read_on_delivery: bool = Field(
        False, description="Count private notifications that were delivered live as read."
    )

    # Kafka.
    kafka_events_topic: Topic = Field(
        "roomcast.events", description="Topic that every event is mirrored to."
    )
    kafka_requests_topic: Topic = Field(
        "roomcast.requests", description="Topic that notifications to be sent are read from."
    )
    kafka_dead_topic: Topic = Field(
        "roomcast.requests.dead", description="Topic for invalid requests, with the reason."
    )
    kafka_user: str = Field("", description="SASL user; empty: no SASL.")
    kafka_password: SecretStr = Field(SecretStr(""), description="SASL password.")
    kafka_password_file: str = Field("", description="File that holds `KAFKA_PASSWORD` instead.")
    kafka_ca_file: str = Field("", description="CA file for TLS to the brokers; empty: no TLS.")
    kafka_batch_max: Annotated[int, Field(ge=1, le=50_000)] = Field(
        2_000, description="Events mirrored at once, at most."
    )
    kafka_delay_s: float = Field(
        0.1,
        ge=0,
        le=3_600,
        description="How long events are collected into a batch before they are mirrored.",
    )

    # Sockets (gateway).
    max_connections: Count = Field(
        50_000, description="Connections per gateway process; one more is answered 503."
    )
    handshakes_per_s: Annotated[int, Field(ge=0)] = Field(
        5_000,
        description="Handshakes per second that a gateway process accepts; more are answered 503 "
        "before any work is done for them; 0: any number.",
    )
    address_connections_per_s: Annotated[int, Field(ge=0)] = Field(
        200,
        description="Handshakes per second of one address that a gateway process accepts; more "
        "are answered 503; 0: any number. Off in open mode.",
    )
    registration_timeout_s: Seconds = Field(
        10.0, description="A connection that hasn't registered by then is closed."
    )
    ping_interval_s: Seconds = Field(25.0, description="A quiet connection is pinged this often.")
    pong_timeout_s: Seconds = Field(
        20.0, description="A pinged connection that sends nothing for this long is closed."
    )
    socket_frame_max_bytes: Count = Field(
        16_384, description="Largest message that a connection may send."
    )
    socket_frames_per_s: Seconds = Field(
        20.0, description="Messages per second that a connection may send on average."
    )
    socket_frames_burst: Count = Field(
        200, description="Messages that a connection may send in one burst."
    )
    user_receipts_per_s: Seconds = Field(
        100.0,
        description="Receipts (ids of `ack` and `read`) per second of one user, on average, that a "
        "gateway process accepts.",
    )
    user_receipts_burst: Annotated[int, Field(ge=1_000, le=2**40)] = Field(
        2_000, description="Receipts of one user that it accepts in one burst."
    )
    client_receipts_per_s: Count = Field(
        10_000,
        description="Receipts per second of all users of one client application that a gateway "
        "process accepts, and as many again in one burst. Off in open mode.",
    )
    max_rooms: Count = Field(100, description="Rooms per connection.")
    socket_unsent_max_bytes: Count = Field(
        1_048_576,
        description="Unsent bytes at which live sending to a slow connection stops; it catches up "
        "from the log later.",
    )
    send_buffer_bytes: Annotated[int, Field(ge=1, le=2**30)] = Field(
        16_384, description="SO_SNDBUF of a connection's socket."
    )
    drain_s: Seconds = Field(10.0, description="On SIGTERM, closes are spread over this time.")
    gap_check_interval_s: Seconds = Field(
        5.0,
        description="How often positions are compared with Redis, to find a lost last message.",
    )
    subscriber_max_bytes: Count = Field(
        33_554_432,
        description="Waiting bytes in a gateway past which it stops reading from Redis.",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return the sources of settings; see pydantic-settings."""
        del file_secret_settings
        assert isinstance(env_settings, EnvSettingsSource)
        assert isinstance(dotenv_settings, EnvSettingsSource)
        return (
            init_settings,
            WithSecretFiles(settings_cls, WithOldNames(settings_cls, env_settings), SECRETS),
            WithSecretFiles(settings_cls, WithOldNames(settings_cls, dotenv_settings), SECRETS),
        )

    @field_validator("redis_client")
    @classmethod
    def _check_redis(cls, value: SecretStr) -> SecretStr:
        check_url(value.get_secret_value(), REDIS_SCHEMES)
        return value

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, value: SecretStr) -> SecretStr:
        if value:
            check_url(value.get_secret_value(), DATABASE_SCHEMES)
        return value

    @field_validator("redis_ca_file")
    @classmethod
    def _check_authority(cls, value: str, info: ValidationInfo) -> str:
        url = info.data.get("redis_client")
        if value and url is not None and not url.get_secret_value().startswith("rediss:"):
            raise ValueError("there is no TLS to Redis unless REDIS_CLIENT begins with rediss://")
        if value and not Path(value).is_file():
            raise ValueError("there is no such file")
        return value

    @field_validator("tls_key_file")
    @classmethod
    def _check_tls(cls, value: str, info: ValidationInfo) -> str:
        if bool(value) != bool(info.data.get("tls_cert_file")):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE are set together or not at all")
        return value

    @field_validator("kafka_brokers")
    @classmethod
    def _check_brokers(cls, value: str) -> str:
        brokers = [broker.strip() for broker in value.split(",")] if value.strip() else []
        if not all(_BROKER.fullmatch(broker) for broker in brokers):
            raise ValueError("must be host:port, several of them with commas between")
        return ",".join(brokers)

    @field_validator("allowed_origins")
    @classmethod
    def _check_origins(cls, value: str) -> str:
        for origin in (one.strip() for one in value.split(",")):
            if origin and not _ORIGIN.fullmatch(origin):
                raise ValueError(f"{origin!r} is no origin, such as https://app.example.com")
        return value

    @field_validator("trusted_proxies")
    @classmethod
    def _check_proxies(cls, value: str) -> str:
        parse_networks(value)
        return value

    @property
    def redis_url(self) -> str:
        """URL of Redis for a client, with password and CA file."""
        return with_authority(self.redis_client.get_secret_value(), self.redis_ca_file)

    def allows_origin(self, origin: str) -> bool:
        """Return True if pages of an origin may connect and send requests."""
        listed = [one.strip() for one in self.allowed_origins.split(",") if one.strip()]
        if not listed:
            return self.auth_mode is AuthMode.OPEN
        return "*" in listed or origin in listed

    @property
    def proxies(self) -> tuple[Network, ...]:
        """Networks of the proxies whose `X-Forwarded-For` is trusted, for `peer_address`."""
        return parse_networks(self.trusted_proxies)

    @property
    def client_lane_jobs(self) -> int:
        """Most waiting jobs of one client in a lane; 0: as many as the lane holds."""
        if self.auth_mode is AuthMode.OPEN:
            return 0
        return max(1, int(self.lane_client_share * self.lane_max_jobs))

    @property
    def reader_groups(self) -> list[str]:
        """Names of the enabled readers."""
        return list(self.reader_policies)

    @property
    def reader_policies(self) -> dict[str, ReaderPolicy]:
        """Enabled readers, each with its policy for being too far behind."""
        named = (one.partition(":") for one in self.event_readers.split(",") if one)
        chosen = {name: policy for name, _, policy in named}
        return {
            name: ReaderPolicy(policy) if policy else _default_policy(name, chosen)
            for name, policy in chosen.items()
        }


def _default_policy(name: str, readers: Collection[str]) -> ReaderPolicy:
    """Drop for the Kafka bridge if history reads too: it can mirror again from PostgreSQL."""
    mirrors = name == KAFKA_GROUP and HISTORY_GROUP in readers
    return ReaderPolicy.DROP if mirrors else ReaderPolicy.REFUSE
