"""First screen: the addresses of everything, and commands to try."""

from typing import Final

from common.config.settings import AuthMode, Settings
from deploy.local.parts import running_processes
from deploy.processes import READY_PATH

_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # compared, not bound

_PRIVATE: Final = (
    '{"userId":2,"message":"Private message for userId 1","target":1,"type":"private"}'
)


def base_url(host: str, port: int, scheme: str = "http") -> str:
    """Make the URL of a process that listens on `host`, as seen from this machine."""
    reachable = _ANY_ADDRESS.get(host, f"[{host}]" if ":" in host else host)
    return f"{scheme}://{reachable}:{port}"


def readiness_urls(settings: Settings) -> dict[str, str]:
    """List the readiness URL of each part that has one."""
    urls = {}
    for process in running_processes(settings):
        scheme = "https" if process.speaks_tls and settings.tls_cert_file else "http"
        url = base_url(settings.host, getattr(settings, process.port), scheme)
        urls[process.name] = f"{url}{READY_PATH}"
    return urls


def first_screen(
    settings: Settings,
    redis: str,
    configuration: str,
    database: str = "off: DATABASE_URL is empty",
    kafka: str = "off: KAFKA_BROKERS is empty",
    *,
    logs: str = ".data/logs",
    client_command: str = "make client NAME=… EMAIL=…",
) -> str:
    """Make the text that is shown once the stack is ready.

    Args:
        settings: its addresses, and whether it needs credentials.
        redis: the store of its jobs, in words.
        configuration: supervisord's, for its own command line.
        database: the store of its history, in words.
        kafka: the target of its events, in words.
        logs: folder of the log files.
        client_command: makes a client.
    """
    s = "s" if settings.tls_cert_file else ""
    http = base_url(settings.host, settings.port, f"http{s}")
    worker = base_url(settings.host, settings.worker_port)
    gateway = base_url(settings.host, settings.ws_port, f"http{s}")
    sockets = base_url(settings.host, settings.ws_port, f"ws{s}")
    required = settings.auth_mode is AuthMode.REQUIRED
    calls = _calls_with_credentials if required else _calls
    return f"""
Roomcast is ready.  Ctrl-C stops all of it.

  HTTP API    {http}/notify   (documented at {http}/docs)
  WebSocket   {sockets}/
  metrics     {http}/metrics  {worker}/metrics  {gateway}/metrics
  Redis       {redis}
  history     {database}
  Kafka       {kafka}
  logs        {logs}
  processes   .venv/bin/supervisorctl -c {configuration} status

{calls(http, sockets, client_command)}
"""


def _calls(http: str, sockets: str, client_command: str) -> str:
    del client_command
    return f"""\
Two commands to try, each in a terminal of its own. Listen as user 1 in room 1:

  (echo '{{"userId":1,"room":1}}'; cat) | .venv/bin/python -m websockets {sockets}/

and send to that user:

  curl {http}/notify -H 'Content-Type: application/json' \\
    -d '{_PRIVATE}'
"""


def _calls_with_credentials(http: str, sockets: str, client_command: str) -> str:
    return f"""\
AUTH_MODE is `required`: a program needs an API key to send, a user needs a token to listen. Make a
client and get its key:

  {client_command}

Two commands to try with that key, each in a terminal of its own. Listen as user 1 in room 1:

  KEY=rk_…
  TOKEN=$(curl -s {http}/tokens -H "x-api-key: $KEY" -H 'Content-Type: application/json' \\
    -d '{{"userId":1,"rooms":["1"]}}' | cut -d '"' -f 4)
  (echo '{{"userId":1,"room":1,"token":"'$TOKEN'"}}'; cat) \\
    | .venv/bin/python -m websockets {sockets}/

and send to that user:

  KEY=rk_…
  curl {http}/notify -H "x-api-key: $KEY" -H 'Content-Type: application/json' \\
    -d '{_PRIVATE}'
"""


def first_client(command: str) -> str:
    """Make the text that is shown when only a first client is missing."""
    return f"""
Roomcast is running and waits for its first client, because AUTH_MODE is `required`. Make one that
manages all others, in another terminal; its API key is printed:

  {command}

"""
