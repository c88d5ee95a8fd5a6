"""What can be told from the compose files without Docker."""

import yaml

from common.settings import Settings
from tests.compose.engine import ROOT, base_images

# What only `make run` reads.
LOCAL_ONLY = {"DATA_DIR", "VALKEY_PORT", "POSTGRES_PORT", "KAFKA_PORT"}


def test_every_setting_reaches_the_containers() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    wanted = {name.upper() for name in Settings.model_fields} - LOCAL_ONLY
    for name in ("server", "worker", "gateway", "history", "bridge"):
        assert set(services[name]["environment"]) == wanted


def test_ports_default_to_those_of_the_settings() -> None:
    environment = yaml.safe_load((ROOT / "compose.yaml").read_text())["x-settings"]
    for name in ("PORT", "WS_PORT", "WORKER_PORT", "HISTORY_PORT", "KAFKA_BRIDGE_PORT"):
        default = Settings.model_fields[name.lower()].default
        assert environment[name] == f"${{{name}:-{default}}}"


def test_every_base_image_has_a_stand_in() -> None:
    assert set(base_images()) == {"python", "valkey", "postgres", "kafka", "haproxy"}


def test_gateways_believe_the_proxy_in_front_of_them_and_it_believes_nobody() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    value = services["gateway"]["environment"]["TRUSTED_PROXIES"]
    name, _, default = value.removeprefix("${").removesuffix("}").partition(":-")
    assert name == "TRUSTED_PROXIES"
    assert Settings(trusted_proxies=default).proxies
    # The server's port is open to everybody.
    assert services["server"]["environment"]["TRUSTED_PROXIES"] is None
    assert "ports" not in services["gateway"]
    configuration = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
    assert "    option forwardfor\n" in configuration
    assert "    http-request del-header X-Forwarded-For\n" in configuration
