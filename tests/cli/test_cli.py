"""The command: exit status, one sentence for a user's mistake, never a traceback, no kernel before the checks."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest

import cldf_core
from cldf_core.cli import main
from cldf_core.cli.command_line import COMMANDS
from cldf_core.options import UserError
from cldf_core.workflow import chain, notebooks
from cldf_core.workflow.engine import Outcome
from cldf_core.workflow.notebooks import NotebookResult, notebook_name, notebook_parameters
from cldf_core.workflow.parameters import NOTEBOOKS, allowed_names
from samples import statuses


@pytest.fixture
def project(root, monkeypatch):
    """A root with params/ in which no kernel may start."""
    for profile in notebooks.PROFILES:
        for name in NOTEBOOKS:
            path = root / "params" / profile / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("data: nowhere\n" if profile == "smoke" else "{}\n")

    monkeypatch.setattr(notebooks, "_papermill", lambda *args: pytest.fail("a kernel was started"))
    return root


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run", "04", "--profile", "slow"], "there is no profile 'slow'; allowed: quick, smoke"),
        (["reproduce", "--profile", "slow"], "there is no profile 'slow'; allowed: quick, smoke"),
        (["run", "44"], "there is no notebook '44'; allowed: 00_start_here, 01_data_exploration"),
        (["run", "icarl"], "there is no notebook 'icarl'; allowed:"),
        (["reproduce", "--only", "04", "nothing"], "there is no notebook 'nothing'; allowed:"),
        (["fly"], "the command is 'fly'; allowed: "),
        (["run"], "the following arguments are required: notebook"),
        (["mini"], "the following arguments are required: a command"),
        (["--fast"], "there is no flag '--fast'; allowed: --help, --version"),
        (["reproduce", "--frce"], "there is no flag '--frce'; did you mean --force? Allowed: --help, --profile, "),
        (["reproduce", "--again"], "there is no flag --again any more; it is called --force now"),
        (["run", "04", "--again"], "there is no flag --again any more; it is called --force now"),
        (["mini", "build", "--forgers", "x"], "there is no flag --forgers any more; it is called --generators now"),
        (["run", "04", "05"], "'05' belongs to no flag; allowed: --help, --profile, --parameter"),
        (["reproduce", "--all", "--only", "04"], "--only is not allowed together with "),
        (["data", "check", "x", "--size", "y"], "--size is 'y'; allowed: a whole number"),
        (["score", "x", "--bnad", "0.2"], "there is no flag '--bnad'; did you mean --band? Allowed: "),
        (["metrics", "x", "--split", "train"], "--split is 'train'; allowed: "),
        (["sweep"], "the following arguments are required: grid"),
        (["run", "04", "--profile", "seed"], "the profile 'seed' is called 'original' now"),
        (["run", "04", "-p", "sed=3"], "04_icarl: there is no option 'sed' (its value is '3'); did you mean 'seed'?"),
        (["run", "04", "-p", "temperature=3"], "04_icarl: there is no option 'temperature'"),
        (["run", "04", "-p", "__import__('os')=3"], "04_icarl: there is no option"),
        (["run", "04", "-p", "seed=three"], "04_icarl: seed is 'three'; allowed: a whole number from 0"),
        (["run", "04", "-p", "seed=1.5"], "04_icarl: seed is '1.5'; allowed: a whole number"),
        (["run", "04", "-p", "seed=true"], "04_icarl: seed is 'true'; allowed: a whole number"),
        (["run", "04", "-p", "seed="], "04_icarl: seed is ''; allowed: a whole number"),
        (["run", "04", "-p", "lr=11"], "04_icarl: lr is 11.0; allowed: a number above 0 to 10"),
        (["run", "04", "-p", "lr=nan"], "lr is 'nan'; allowed: a number above 0 to 10"),
        (["run", "04", "-p", "lr=.nan"], "lr is '.nan'; allowed: a number above 0 to 10"),
        (["run", "04", "-p", "stream=a,a"], "stream is ['a', 'a']; allowed: each name once"),
        (["run", "04", "-p", "memory=7"], "memory is 7; allowed for iCaRL"),
        (["run", "04", "-p", "plane=left"], "plane is 'left'; allowed: half, full"),
        (["run", "04", "-p", "seed"], "-p 'seed': needed is NAME=VALUE, such as -p seed=3"),
        (["run", "04", "-p", "seed=1:30"], "04_icarl: seed is '1:30'; allowed: a whole number"),
        (["run", "04", "-p", "memory="], "04_icarl: memory is ''; allowed: a whole number from 1 to 10000000"),
        (["run", "04", "-p", "stream=foo"], "there is no domain 'foo' in mini; allowed: mini-GAN-S, mini-VFHQ"),
        (["run", "04", "-p", "unseen=foo"], "there is no domain 'foo' in mini; allowed: mini-GAN-S, mini-VFHQ"),
        (
            ["run", "04", "-p", "teacher_mode=train"],
            "teacher_mode' (its value is 'train') here, it is LwF's; allowed: ",
        ),
        (["run", "04", "-p", "teacher_mode"], "there is no option 'teacher_mode' (its value is '') here, it is LwF's"),
        (["run", "04", "-p", "variant=seed"], "'seed', which is called 'original' now: -p variant=original"),
        (["run", "04", "--variant", "seed"], "there is no flag --variant; an option is given as -p variant=original"),
        (["run", "04", "-p", "seed=1", "-p", "seed=2"], "-p gives 'seed' twice; allowed: each name once"),
        (["run", "04", "--memory=9"], "there is no flag --memory; an option is given as -p memory=9"),
        (["--vers"], "there is no flag '--vers'; did you mean --version? Allowed: --help, --version"),
        *((["run", "04", "--cache-gb", text], f"--cache-gb is '{text}'; allowed: gig") for text in ("nan", "-1", "x")),
        (["data", "check", "x", "--size", "-4"], "--size is '-4'; allowed: a whole number from 1 to 65535"),
        (["data", "add", "x", "--every", "nan"], "--every is 'nan'; allowed: seconds above 0"),
        (["data", "audit", "x", "--quality", "1_0"], "--quality is '1_0'; allowed: a whole number from 1 to 100"),
        (["mini", "check", "--seeds", "0"], "--seeds is '0'; allowed: a whole number from 1 to 1000"),
        (["mini", "train", "--out", "x", "--seed", "1e9"], "--seed is '1e9'; allowed: a whole number from 0 to 214748"),
        (["score", "x", "--band", "inf"], "--band is 'inf'; allowed: a number from 0 and below 0.5"),
        (["metrics", "x", "--resamples", "1000000000"], "--resamples is '1000000000'; allowed: a whole number from 1"),
        (["run", "04", "-p", "data=~nosuchuser/x"], "data is '~nosuchuser/x': there is no such folder; allowed"),
        (["run", "04", "-p", "data=" + "a" * 6000], "File name too long"),
        (["run", "04", "-p", "data=/no/where"], "data is '/no/where': there is no such folder; allowed: mini"),
        (["reproduce", "--profile", "smoke"], "data is 'nowhere': there is no such folder"),
        (
            ["run", "04", "-p", "network=resnet18", "-p", "weights=/no/where"],
            "weights is '/no/where': there is no such",
        ),
        (["run", "04", "-p", "network=resnet18", "-p", "weights=/"], "weights is '/', a folder; allowed: imagenet, or"),
        (["run", "04", "-p", "network=resnet18", "-p", f"weights={__file__}"], ", which cannot be read as weights ("),
        (["run", "04", "-p", "device=cuda"], "device is 'cuda', but torch finds no GPU here; allowed: cpu"),
        (["run", "04", "-p", "device=foo"], "04_icarl: device is 'foo'; allowed: cpu, cuda"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_told_in_a_sentence_before_any_kernel_starts(project, capsys, monkeypatch, words, sentence):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (project / "notebooks").mkdir()
    for name in NOTEBOOKS:
        (project / "notebooks" / f"{name}.ipynb").write_text('{"cells": []}')
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("cldf: ")
    assert sentence in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("seed: [1\n", "04_icarl.yaml is not readable YAML"),
        (b"seed: \xff", "04_icarl.yaml is not readable YAML: its bytes are not UTF-8"),
        ("- seed\n", "04_icarl.yaml holds a list; needed: lines of the form name: value"),
        ("just text\n", "04_icarl.yaml holds a text"),
        ("sed: 3\n", "params/quick/04_icarl.yaml: there is no option 'sed'"),
        ("1: 3\n", "params/quick/04_icarl.yaml: there is no option '1'"),
        ("lr: 1e9\n", "params/quick/04_icarl.yaml: lr is "),
        ("seed: 1\nseed: 1\n", "04_icarl.yaml gives 'seed' twice; allowed: each name once"),
        ("seed: 1:30\n", "params/quick/04_icarl.yaml: seed is '1:30'; allowed: a whole number"),
        ("data: !!python/object/apply:os.system ['touch pwned']\n", "not readable YAML"),
    ],
)
def test_a_faulty_profile_is_told_with_its_file(project, capsys, content, sentence, monkeypatch):
    monkeypatch.chdir(project)
    path = project / "params" / "quick" / "04_icarl.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main(["run", "04"]) == 2
    assert sentence in capsys.readouterr().err.replace("\\", "/")
    assert not (project / "pwned").exists()


def test_a_profile_is_read_by_the_types_of_its_options(project):
    (project / "params" / "quick" / "04_icarl.yaml").write_text("lr: 2e-3\nepochs: 010\nunseen:\n")
    assert notebook_parameters("04_icarl", "quick").values == {"lr": 0.002, "unseen": []}
    options = notebook_parameters("04_icarl", "quick", {"epochs": 4}).options()
    assert (options.lr, options.epochs, options.unseen) == (0.002, 4, [])


def test_a_notebook_may_be_named_in_several_ways_that_are_clear():
    for text in ("04", "04_icarl", "notebooks/04_icarl.ipynb", "04_icarl.py"):
        assert notebook_name(text) == "04_icarl"
    for text in ("4", "", "0", "icarl", "04_"):
        with pytest.raises(UserError, match="there is no notebook"):
            notebook_name(text)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("CLDF_CACHE_GB", "abc", "CLDF_CACHE_GB is 'abc'; allowed: gigabytes above 0, such as 20"),
        ("CLDF_PROGRESS", "7", "CLDF_PROGRESS is '7'; allowed: 0 or 1"),
        ("CLDF_ROOT", __file__, "there is a file of that name; needed: a folder"),
    ],
)
def test_a_variable_that_means_nothing_is_told_by_every_command(root, capsys, monkeypatch, name, value, sentence):
    monkeypatch.setenv(name, value)
    assert main(["data", "list"]) == 2
    assert sentence in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["data", "--help"])


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == cldf_core.__version__ + "\n"
    assert main([]) == 0
    assert "reproduce" in capsys.readouterr().out
    names = [command.__name__.rsplit(".", 1)[1] for command in COMMANDS]
    names[names.index("pack")] = "archive"  # a module of that name could not be told from data.intake.archives
    for words in (["--help"], *([name, "--help"] for name in names), ["mini", "build", "-h"], ["data", "add", "-h"]):
        with pytest.raises(SystemExit) as left:
            main(words)
        assert left.value.code == 0
        told = capsys.readouterr().out
        assert told.startswith(" ".join(["usage: cldf", *words[:-1]]))
        assert "\n\n" in told.split("options:")[0].strip()  # what the command does


def test_the_exit_status_tells_whether_all_went_well(project, capsys, monkeypatch):
    done = NotebookResult("04_icarl", "done", 1.0, None)
    for other, status in [
        (NotebookResult("03", "already done"), 0),
        (NotebookResult("05", "failed", 1.0, None, "cell 3: ValueError: no"), 1),
        (NotebookResult("08", "not run", error="needs 05"), 1),
    ]:
        monkeypatch.setattr(chain, "reproduce", Mock(return_value=[done, other]))
        assert main(["reproduce"]) == status
        printed = capsys.readouterr().out
        assert all(word in printed for word in (done.notebook, other.notebook, other.error))
    failed = NotebookResult("04_icarl", "failed", 1.0, None, "why not")
    monkeypatch.setattr(notebooks, "execute", lambda *a, **k: failed)
    assert main(["run", "04"]) == 1
    assert "why not" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ([], "00 01 02 03 04 05 06 07 08"),
        (["--all"], " ".join(name.split("_")[0] for name in NOTEBOOKS)),
        (["--only", "11"], "11"),
        (["--only", "11", "02"], "02 11"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_which_notebooks_are_reproduced(project, capsys, monkeypatch, words, numbers):
    monkeypatch.setattr(notebooks, "inputs_hash", lambda parameters: "")
    monkeypatch.setattr(chain, "carried_out", lambda tasks, *a, **k: [Outcome(task, "done") for task in tasks])
    assert main(["reproduce", *words]) == 0
    names = list(statuses(capsys.readouterr().out))
    assert names == [name for name in NOTEBOOKS if name.split("_")[0] in numbers.split()]


class Interrupted:
    """Is interrupted while it is thrown away, where Python cannot raise anything."""

    def __del__(self):
        raise KeyboardInterrupt


def deaf(*args, **settings):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background ignore it
    try:
        Interrupted()
        for _ in range(1000):
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGINT, before)


def test_interruptions_are_told_and_faults_of_the_program_keep_their_traceback(project, capsys, monkeypatch):
    monkeypatch.setattr(chain, "reproduce", Mock(side_effect=KeyboardInterrupt))
    assert main(["reproduce"]) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    monkeypatch.setattr(chain, "reproduce", deaf)
    assert main(["reproduce"]) == 130
    with monkeypatch.context() as patch:  # while the command's parts are imported
        patch.setattr("builtins.__import__", Mock(side_effect=KeyboardInterrupt))
        assert main(["reproduce"]) == 130
    assert capsys.readouterr().err.count("cldf: interrupted; ") == 2
    monkeypatch.setattr(chain, "reproduce", Mock(side_effect=ZeroDivisionError))
    with pytest.raises(ZeroDivisionError):
        main(["reproduce"])


def test_the_installed_command_is_this_one(root):
    command = shutil.which("cldf", path=str(Path(sys.executable).parent))
    assert command, "install the project: pip install -e ."
    done = subprocess.run([command, "run", "99"], capture_output=True, text=True, cwd=root)
    assert done.returncode == 2
    assert "there is no notebook '99'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other shells and no /dev/full")
@pytest.mark.parametrize(
    ("redirected", "sentence"),
    [
        ("> /dev/full", "cldf: the standard output: No space left on device\n"),
        (">&-", "cldf: the standard output is closed; needed: a place for it, such as > /dev/null\n"),
        ("> /dev/full 2> /dev/full", ""),
        ("| sleep 0", "cldf: the standard output: Broken pipe\n"),
    ],
)
@pytest.mark.parametrize("words", ["--version", "--help", "data list"])
def test_an_output_that_cannot_be_written_is_told(root, words, redirected, sentence):
    line = f"set -o pipefail; {sys.executable} -u -m cldf_core.cli {words} {redirected}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True)
    assert done.returncode != 0
    assert (done.stdout, done.stderr) == ("", sentence)


def test_names_and_errors_are_safe_for_a_terminal(root, capsys):
    for words in (["run", "\x1b[2J\n\u202e04"], ["run", "04", "-p", "stream=a\x9b\nb"], ["\x1b[0m"], ["--\x1b[0m"]):
        assert main(words) == 2
        told = capsys.readouterr().err
        assert told.count("\n") == 1
        assert told[:-1].isprintable()


def test_a_path_is_meant_from_where_the_command_is_typed(root, small_data, tmp_path_factory, monkeypatch):
    elsewhere, execute = tmp_path_factory.mktemp("elsewhere"), Mock(return_value=Mock(status="done"))
    (elsewhere / "mine").symlink_to(small_data)
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(notebooks, "execute", execute)
    monkeypatch.setattr(chain, "summary", str)
    for name in ("mine", "./mine"):
        assert main(["run", "07", "-p", f"data={name}", "-p", "stream=first", "-p", "unseen="]) == 0
        assert execute.call_args.args[0].options("er").data == str(elsewhere / "mine")


def test_all_options_of_a_notebook_are_listed_with_what_they_allow(capsys):
    for notebook in ("07", "00", "12"):
        assert main(["run", notebook, "--options"]) == 0
        said = capsys.readouterr().out
        names = [line.split(" = ")[0] for line in said.splitlines() if not line.startswith(" ")]
        assert names == allowed_names(notebook_name(notebook))
    assert "lr = 0.001\n    learning rate; the highest one of a cycle; allowed: a number above 0 to 10\n" in said
    assert "limit = null\n    training images per class and domain; None takes all; allowed: a whole number" in said
