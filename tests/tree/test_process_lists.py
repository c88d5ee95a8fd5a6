"""The list of processes is complete, and all that repeats it is up to date."""

import pytest

from common.config.settings import Settings
from deploy.processes import FOLDERS, PROCESSES, Process
from roomcast.command import COMMANDS
from tools.process_lists import LISTS, ROOT, replace


def test_every_folder_that_runs_is_in_the_list() -> None:
    tools = {"loadtests", "roomcast"}
    runs = {path.parent.name for path in ROOT.glob("*/__main__.py")} - tools
    assert runs == {process.module for process in PROCESSES}
    assert {*runs, "common"} == set(FOLDERS)
    assert {command.module.partition(".")[0] for command in COMMANDS} == runs


@pytest.mark.parametrize("process", PROCESSES, ids=[process.name for process in PROCESSES])
def test_a_process_has_its_settings_and_imports_others_of_the_list(process: Process) -> None:
    assert {process.port, process.replicas} <= Settings.model_fields.keys()
    assert not process.switch or process.switch in Settings.model_fields
    assert set(process.imports) < set(FOLDERS)


@pytest.mark.parametrize("column", ["name", "module", "port", "replicas", "order", "command"])
def test_no_two_processes_share(column: str) -> None:
    values = [getattr(process, column) for process in PROCESSES]
    assert len(values) == len(set(values))


@pytest.mark.parametrize("name", LISTS)
def test_a_file_repeats_the_list_as_it_is(name: str) -> None:
    text = (ROOT / name).read_text()
    assert replace(text, LISTS[name]) == text, "run `make docs`"


@pytest.mark.parametrize(
    "text",
    ["", "# processes:begin a\n# processes:begin b\n", "# processes:begin b\n# processes:end\n"],
)
def test_a_file_without_the_right_markers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected markers"):
        replace(text, {"a": lambda: ""})


def test_a_list_is_written_at_each_of_its_places() -> None:
    text = "1\n  # processes:begin a x\nold\n  # processes:end\n2\n# processes:begin a\n"
    assert replace(text + "# processes:end\n", {"a": lambda: "new\n"}) == (
        "1\n  # processes:begin a x\nnew\n  # processes:end\n2\n"
        "# processes:begin a\nnew\n# processes:end\n"
    )
