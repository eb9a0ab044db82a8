"""The networks of runs (safetensors), and the state that a run resumes from."""

import errno
import json
import os
import re
import shutil
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from cldf_core.data.console import note
from cldf_core.data.files import whole_file
from cldf_core.options import AGENTS, FIELDS, RENAMED, Options, UserError
from cldf_core.protocol import Place
from cldf_core.resnet import Network, build_network
from cldf_core.runs.folder import KEPT, STATE, RunFolder

EVERY = 60.0  # seconds between states within a step
SHARE = 0.03  # of a run's time that writing them may take
_DAMAGE = (errno.ENOENT, errno.EISDIR, errno.EINVAL)  # missing, a folder, or with numbers that lead out of the file


class DamagedState(UserError):
    """A file is not the state that was written."""


def save_network(network: Network, options: Options, path: Path) -> None:
    """Writes the weights, iCaRL's means, and the options that tell how to build the network and its input."""
    # Dense copies: the file format has no notion of channels last.
    weights = network.state_dict().items()
    state = {name: w.cpu().contiguous(memory_format=torch.contiguous_format) for name, w in weights}
    if network.means is not None:
        state["means"] = network.means
    with whole_file(path) as partial:
        save_file(state, partial, metadata={"options": options.model_dump_json()})


def load_network(path: Path) -> tuple[Network, Options]:
    """The network in evaluation mode, and the options of the run that it comes from.

    Raises:
        UserError: the file is not what the manifest beside it tells.
    """
    with safe_open(RunFolder(path.parent).whole(path.name), "pt") as file:
        options = stored_options(json.loads(file.metadata()["options"]))
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (no mapping)
    means = state.pop("means", None)
    network = build_network(options.network, outputs=len(state["head.bias"]), width=options.width)
    network.load_state_dict(state)
    network.means = means
    return network.eval(), options


def stored_options(values: Mapping[str, Any]) -> Options:
    """The options that a file holds; of an agent that nobody has registered here, those that every run has."""
    values, kind = renamed(values), AGENTS.get(str(values.get("agent")))
    if kind is None:
        return Options(**{name: value for name, value in values.items() if name in Options.model_fields})
    return kind(**{name: value for name, value in values.items() if name in kind.model_fields or name not in FIELDS})


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Stored options under today's names; an earlier version may have written them."""
    values = {RENAMED.get(name, name): value for name, value in values.items()}
    return {**values, "variant": "original"} if values.get("variant") == "seed" else values


class States:
    """The states from which a run that was stopped goes on: in its folder, the newest two, and the memories they need.

    state/<steps>-<part>-<batches>-<changes>.pt holds all of a state but the remembered spectra, which lie in
    memory-<changes>.pt and are written only when they have changed.
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.key = folder.path / STATE, folder.key
        self.since, self.cost = time.monotonic(), 0.0  # when the last one was written, and how long that took

    def are_due(self) -> bool:
        """Whether one is to be written within a step: a minute after the last one, or later where writing is slow."""
        return time.monotonic() - self.since >= max(EVERY, self.cost / SHARE)

    def save(self, agent: Mapping[str, Any], place: Place, facts: Mapping[str, Any]) -> None:
        """Writes the state of an agent, the place in the stream that it belongs to, and facts for the manifest."""
        started, memory = time.monotonic(), dict(agent["memory"] or {})
        changes, spectra = memory.get("changes", 0), memory.pop("spectra", None)
        if spectra is not None and not self._memory(changes).exists():
            save_state({"spectra": spectra}, self._memory(changes))
        state = {"key": self.key, "agent": {**agent, "memory": memory}, "remembers": spectra is not None}
        state["json"] = json.dumps({"place": asdict(place), "facts": facts})
        save_state(state, self.folder / f"{place.steps}-{place.part}-{place.batches}-{changes}.pt")
        for _, path in self._places()[2:]:
            path.unlink()
        needed = [self._memory(changes) for (*_, changes), _ in self._places()]
        for path in self.folder.glob("memory-*.pt"):
            if path not in needed:
                path.unlink()
        self.since = time.monotonic()
        self.cost = self.since - started

    def newest(self) -> Iterator[tuple[dict[str, Any], Place, dict[str, Any]]]:
        """What `save` was given, the newest first; one that is damaged is told of and left out.

        Raises:
            UserError: one cannot be read at the moment; it stays.
        """
        for (*_, changes), path in self._places():
            reading = path
            try:
                state = load_state(path)
                if state.get("key") != self.key:
                    raise DamagedState(f"{path} belongs to another run")
                if state["remembers"]:
                    reading = self._memory(changes)
                    state["agent"]["memory"] |= load_state(reading)
            except DamagedState as error:
                self._leave_out(error, {reading, path})
                continue
            content = json.loads(state["json"])
            yield state["agent"], Place(**content["place"]), content["facts"]

    def _leave_out(self, error: DamagedState, files: set[Path]) -> None:
        note(f"{error}; the run is made again from before it")
        for file in files:
            shutil.rmtree(file) if file.is_dir() else file.unlink(missing_ok=True)

    def _memory(self, changes: int) -> Path:
        return self.folder / f"memory-{changes}.pt"

    def _places(self) -> list[tuple[list[int], Path]]:
        """Steps, part and batches of each state, and changes of its memory; and its file, the newest first."""
        found = {path: re.fullmatch(r"(\d+)-(\d+)-(\d+)-(\d+)\.pt", path.name) for path in self.folder.glob("*.pt")}
        places = [([int(number) for number in match.groups()], path) for path, match in found.items() if match]
        return sorted(places, reverse=True)


class KeptStates(States):
    """The last state of a run, which stays when that is finished: one with a longer stream goes on from it."""

    def __init__(self, folder: RunFolder) -> None:
        super().__init__(folder)
        self.folder = folder.path / KEPT

    def _leave_out(self, error: DamagedState, files: set[Path]) -> None:
        note(f"{error}; nothing can go on from it")  # whose run this is may still need the files

    def take(self) -> None:
        """Takes the newest state of the run, which is about to be finished, in place of one that is there."""
        running = States(RunFolder(self.folder.parent))
        for (*_, changes), path in running._places()[:1]:
            part = self.folder.with_name(f".{KEPT}.part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            for file in (path, running._memory(changes)):
                if file.is_file():
                    _link(file, part / file.name)
            shutil.rmtree(self.folder, ignore_errors=True)
            part.rename(self.folder)


def _link(path: Path, target: Path) -> None:
    """A second name of a file that is only ever replaced as a whole; a copy where the file system knows none."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copy2(path, target)


def save_state(state: Mapping[str, Any], path: Path) -> None:
    """Writes tensors and plain containers, with checksums."""
    with whole_file(path) as partial, partial.open("wb") as file:  # by a name, torch would write it into the file
        torch.save(dict(state), file)


def load_state(path: Path) -> dict[str, Any]:
    """Reads what `save_state` wrote; tensors and plain containers only, no code.

    Raises:
        DamagedState: the file is cut or changed, or holds something else.
        UserError: it cannot be read at the moment: the system refuses it, or there is too little memory.
    """
    try:
        if checksums_hold(path):
            return torch.load(path, map_location="cpu", weights_only=True)
        reason = "its checksums differ"
    except Exception as error:  # torch raises what its unpickler, its zip reader or the file gives
        reason = getattr(error, "strerror", None) or (str(error).splitlines() or [type(error).__name__])[0]
        refused = isinstance(error, OSError) and error.errno not in _DAMAGE
        if refused or isinstance(error, MemoryError) or "allocate memory" in str(error):
            words = "nothing is lost, and the same command goes on when it can be"
            raise UserError(f"{path} cannot be read ({reason}); {words}") from None
    raise DamagedState(f"{path} is damaged ({reason})")


def checksums_hold(path: Path) -> bool:
    """Whether the parts of a file of torch.save have the checksums that it wrote, which torch.load does not compare.

    An older format, and a file that was written without checksums, have none that could differ.
    """
    if not zipfile.is_zipfile(path):
        return True
    with zipfile.ZipFile(path) as file:
        return not any(part.CRC for part in file.infolist()) or file.testzip() is None
