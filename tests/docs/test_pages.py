"""Pages that list things of the code list those that are there, and all of them."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from common.config.settings import Settings
from common.redis.keys import GlobalKeys, ShardKeys
from common.redis.shards import Shards
from deploy.processes import PROCESSES

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
PORTS = {process.module: process.port.upper() for process in PROCESSES}
SHARDS = Shards()
# What is not in every clone.
OTHER_FOLDERS = {"htmlcov", "dist", "node_modules"}


def page(name: str) -> str:
    return (ROOT / name).read_text()


def rows(text: str, *titles: str) -> Iterator[list[str]]:
    """The cells of the table whose head has these titles."""
    lines = iter(text.splitlines())
    head = f"| {' | '.join(titles)} |"
    assert any(line == head for line in lines), f"there is no table {head}"
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def folders(path: Path) -> set[str]:
    return {
        item.name
        for item in path.iterdir()
        if item.is_dir() and item.name[0] not in "._" and item.name not in OTHER_FOLDERS
    }


def default(setting: str) -> str:
    return str(Settings.model_fields[setting.lower()].default)


def test_deployment_lists_the_services_with_their_numbers_ports_and_volumes() -> None:
    titles = ("service", "containers", "runs", "port", "volume")
    listed = {
        row[0].strip("`"): row[1:] for row in rows(page("docs/operations/deployment.md"), *titles)
    }
    services = COMPOSE["services"]
    assert set(listed) == set(services)
    for name, (number, runs, port, volume) in listed.items():
        service = services[name]
        assert number == str(service.get("scale", 1)), name
        assert ("published" in port) == ("ports" in service), name
        named = [mount.partition(":")[0] for mount in service.get("volumes", [])]
        assert volume == ", ".join(f"`{one}`" for one in named), name
        if (command := service.get("command", []))[:2] == ["python", "-m"]:
            assert f"`python -m {command[2]}`" in runs, name
            setting = PORTS[command[2]]
            assert port.startswith(f"`{setting}` ({default(setting)})"), name
    assert {volume.strip("`") for *_, volume in listed.values() if volume} == set(
        COMPOSE["volumes"]
    )


def test_deployment_names_the_settings_that_containers_have_of_their_own() -> None:
    said = COMPOSE["x-settings"]
    own = {name for name, value in said.items() if value is not None and "${" not in str(value)}
    text = page("docs/operations/deployment.md")
    sentence = re.search(r"Inside the containers\n?(.*?)have values of", text, re.DOTALL)
    assert sentence
    assert set(re.findall(r"`([A-Z_]+)`", sentence[1])) == own


def _shape(key: str) -> str:
    return re.sub(r"[<{](?!0\})[^>}]+[>}](/[<{][^>}]+[>}])*", "*", key)


def _keys() -> tuple[set[str], set[str]]:
    """Shapes of the keys that the code makes, and of its prefixes."""
    made: set[str] = set()
    prefixes: set[str] = set()
    for keys in (SHARDS.only, SHARDS.global_keys):
        more, more_prefixes = _keys_of(keys)
        made |= more
        prefixes |= more_prefixes
    return made, prefixes


def _keys_of(keys: ShardKeys | GlobalKeys) -> tuple[set[str], set[str]]:
    made: set[str] = set()
    prefixes: set[str] = set()
    for name, member in vars(type(keys)).items():
        if name.startswith("_") or name in ("shard", "root"):
            continue
        if isinstance(member, property):
            target = prefixes if name.endswith("_prefix") or name == "limits" else made
            target.add(_shape(getattr(keys, name)))
        else:
            count = member.__code__.co_argcount - 1
            names = member.__code__.co_varnames[1 : count + 1]
            made.add(_shape(member(keys, *(f"<{one}>" for one in names))))
    return made, prefixes


def _listed_keys(title: str) -> set[str]:
    """Keys in the first table behind a title of the page of keys."""
    text = page("docs/reference/keys-and-scripts.md").partition(f"\n{title}\n")[2]
    return {_shape(row[0].split("`")[1]) for row in rows(text, "key", "type", "holds")}


@pytest.mark.parametrize(
    ("title", "keys"),
    [("### Of a shard", SHARDS.only), ("### Of no shard", SHARDS.global_keys)],
    ids=["shard", "global"],
)
def test_a_table_of_keys_lists_every_key_of_its_kind_and_no_other(
    title: str, keys: ShardKeys | GlobalKeys
) -> None:
    made, prefixes = _keys_of(keys)
    listed = _listed_keys(title)
    assert listed >= made
    for key in listed - made:
        assert any(key.startswith(prefix) for prefix in prefixes), f"no key is made like {key}"
    for prefix in prefixes:
        assert any(key.startswith(prefix) for key in listed), f"{prefix}… is not listed"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_key_that_a_page_mentions_is_one(path: Path) -> None:
    made, prefixes = _keys()
    words = {key.split(":")[2] for key in (*made, *prefixes)} | {"limits"}
    for key in re.findall(r"rc:\{[0s]\}:([a-z]+)", path.read_text()):
        assert key in words, f"{path.name}: rc:{{0}}:{key}"


def test_the_page_of_keys_lists_every_script() -> None:
    there = {path.name for path in (ROOT / "common" / "redis" / "lua").rglob("*.lua")}
    listed = [
        name
        for row in rows(page("docs/reference/keys-and-scripts.md"), "script", "called by", "does")
        for name in re.findall(r"`(\w+\.lua)`", row[0])
    ]
    assert len(listed) == len(set(listed))
    assert set(listed) == {name for name in there if not name.endswith(".lib.lua")}


def test_a_script_belongs_to_those_that_the_page_says_call_it() -> None:
    """As far as folders tell: who calls a script names it in its own folder or in `common`."""
    callers = {
        "worker": "worker",
        "gateway": "ws_gateway",
        "server": "server",
        "history writer": "history",
        "Kafka bridge": "kafka_bridge",
    }
    for cell, called_by, _ in rows(
        page("docs/reference/keys-and-scripts.md"), "script", "called by", "does"
    ):
        for script in re.findall(r"`(\w+)\.lua`", cell):
            sources = {
                path.relative_to(ROOT).parts[0]
                for folder in (*PORTS, "common")
                for path in (ROOT / folder).rglob("*.py")
                if re.search(rf'"{script}"', path.read_text())
            }
            assert sources, f"nobody calls {script}.lua"
            named = {folder for word, folder in callers.items() if word in called_by}
            if "common" not in sources and named:
                assert named <= sources, f"{script}.lua is called by {sources}, not by {called_by}"


def test_design_lists_the_folders_of_tests() -> None:
    listed = [
        name
        for row in rows(page("docs/design/index.md"), "folder", "what")
        for name in re.findall(r"`tests/(\w+)/`", row[0])
    ]
    assert len(listed) == len(set(listed))
    assert set(listed) == folders(ROOT / "tests")


def test_the_readme_lists_the_folders() -> None:
    table = dict(rows(page("README.md"), "folder", "holds"))
    listed = {name for cell in table for name in re.findall(r"`(\w+)/`", cell)}
    assert listed == folders(ROOT)


@pytest.mark.parametrize("folder", ["guide", "reference", "design", "operations"])
def test_the_landing_page_links_every_page(folder: str) -> None:
    linked = set(re.findall(rf"\(({folder}/[\w.-]+)\)", page("docs/index.md")))
    there = (ROOT / "docs" / folder).iterdir()
    assert linked == {f"{folder}/{path.name}" for path in there if path.suffix in (".md", ".yaml")}


def test_the_list_of_decisions_links_every_decision() -> None:
    linked = re.findall(r"\((\d{4}-[\w-]+\.md)\)", page("docs/decisions/index.md"))
    there = {path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md")}
    assert linked == sorted(there)
    assert [int(name[:4]) for name in linked] == [*range(1, len(linked) + 1)]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md")), ids=lambda path: path.stem
)
def test_a_decision_has_its_context_and_its_cost(path: Path) -> None:
    parts = re.findall(r"^\*\*(\w+)\.\*\* ", path.read_text(), re.MULTILINE)
    assert parts == ["Context", "Decision", "Cost"]


def test_the_readme_lists_what_make_does() -> None:
    listed = {
        name for row in rows(page("README.md"), "command", "does") for name in row[0].split("`")
    }
    targets = set(re.findall(r"^([a-z-]+):.*## ", page("Makefile"), re.MULTILINE)) - {"help"}
    assert {name.removeprefix("make ") for name in listed if name.startswith("make ")} == targets


def test_who_contributes_is_told_of_every_process_and_of_both_places_of_a_setting() -> None:
    text = page("CONTRIBUTING.md")
    for folder in PORTS:
        assert f"`{folder}/`" in text
    setting = text.partition("\n## A new setting\n")[2].partition("\n## ")[0]
    assert "`common/config/settings.py`" in setting
    assert "`compose.yaml`" in setting


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_of_ours_that_a_page_names_is_there(path: Path) -> None:
    tops = "|".join(sorted(folders(ROOT) - {"docs"}))
    for name in re.findall(rf"`((?:{tops})/[\w./-]+)`", path.read_text()):
        # An installed Roomcast has that folder, a clone does not.
        if name != "roomcast/parts":
            assert (ROOT / name).exists(), f"{path.name} names {name}"


def test_a_bound_is_in_the_module_that_the_page_names() -> None:
    text = page("docs/design/bounds.md")
    named = re.findall(r"((?:`\w+`(?:, )?)+) \(((?:`[\w/]+\.py`(?:, )?)+)\)", text)
    assert len(named) > 30
    for constants, modules in named:
        for module in re.findall(r"`([^`]+)`", modules):
            source = (ROOT / module).read_text()
            for constant in re.findall(r"`(\w+)`", constants):
                if constant.lower() not in Settings.model_fields:
                    assert re.search(rf"\b{constant}\b", source), f"{module} has no {constant}"


TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_test_that_a_page_names_is_there(path: Path) -> None:
    assert set(re.findall(r"`(test_\w+)`", path.read_text())) <= TESTS


def in_nav(entries: list[Any]) -> Iterator[str]:
    for entry in entries:
        for item in entry.values() if isinstance(entry, dict) else [entry]:
            yield from in_nav(item) if isinstance(item, list) else [item]


def test_the_site_s_navigation_has_every_page_once() -> None:
    navigation = tomllib.loads(page("zensical.toml"))["project"]["nav"]
    there = (path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md"))
    assert sorted(in_nav(navigation)) == sorted(map(str, there))
