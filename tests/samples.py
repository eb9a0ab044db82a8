"""Small data sets, options and tables that several test files make."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

import cldf_core
from cldf_core.agents import Agent, build_agent
from cldf_core.data.domains import DataError, Domain
from cldf_core.data.files import file_hash
from cldf_core.data.intake.add import add
from cldf_core.data.intake.scan import Row
from cldf_core.data.layouts.read import read_domains
from cldf_core.data.layouts.recognition import DetectedLayout
from cldf_core.options import FIELDS, Options, checked
from cldf_core.resnet import Network
from cldf_core.runs.folder import SCORES, RunFolder
from cldf_core.spectrum import InputSpec
from cldf_core.stream import Samples, Step
from cldf_core.workflow.parameters import NOTEBOOKS

PROJECT = Path(cldf_core.__file__).parents[1]
DOMAINS = ("first", "second", "third", "unseen")


def texture(rng: np.random.Generator, period: int, side: int = 32) -> np.ndarray:
    """Smooth random colours, shape (side, side, 3); with a period above 0 a faint grid lies on them."""
    coarse = rng.integers(0, 200, (side // 8, side // 8, 3))
    pixels = coarse.repeat(8, 0).repeat(8, 1) + rng.integers(0, 30, (side, side, 3))
    if period:
        pixels[::period] += 25
        pixels[:, ::period] += 25
    return pixels.astype(np.uint8)


def photo(seed: int = 0, side: int = 32) -> np.ndarray:
    """A photograph of smooth random colours, shape (side, side, 3)."""
    return texture(np.random.default_rng(seed), 0, side)


def through_jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """Pixels, shape (3, H, W), as they come out of a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file)).transpose(2, 0, 1)


def make_data(
    folder: Path,
    domains: tuple[str, ...] = DOMAINS,
    *,
    train: int = 8,
    test: int = 6,
    validation: int = 0,
    seed: int = 0,
    side: int = 32,
) -> Path:
    """Real textures and fake ones (a grid of another period in each domain), `train` images a class."""
    rng = np.random.default_rng(seed)
    for place, domain in enumerate(domains):
        for kind, period in (("real", 0), ("fake", place + 2)):
            for part, count in (("trainA", train), ("valA", validation), ("testA", test)):
                for k in range(count):
                    path = folder / kind / domain / part / f"image{k:02d}.png"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(texture(rng, period, side)).save(path)
    return folder


def three_collections(folder: Path) -> Path:
    """A data set in the original's layout, which is returned, and two others, registered where CLDF_ROOT says.

    "pooled" is a table whose generators, gan and sd, share their real images; "hub" is a folder of parquet files with
    one domain, app. All have images of other sizes.
    """
    plain = make_data(folder / "plain", ("first", "last"), validation=6)
    made = make_data(folder / "made", ("gan", "sd"), train=60, seed=1, side=48)
    rows = []
    for kind, names in (("real", ["gan"]), ("fake", ["gan", "sd"])):
        for name in names:
            for k, path in enumerate(sorted((made / kind / name / "trainA").iterdir())):
                Image.open(path).save(folder / f"{kind}-{name}{k}.jpg", quality=95)
                rows.append((f"{kind}-{name}{k}.jpg", kind, name if kind == "fake" else "", f"{kind}-{name}{k}"))
    pd.DataFrame(rows, columns=["path", "label", "generator", "group"]).to_csv(folder / "list.csv", index=False)
    add(folder / "list.csv", "pooled", real_images="shared")
    faces = make_data(folder / "faces", ("app",), train=20, seed=2, side=40)
    (folder / "hub").mkdir()
    for number, kind in enumerate(("real", "fake")):
        files = sorted((faces / kind / "app" / "trainA").iterdir())
        cells = [{"bytes": path.read_bytes(), "path": f"{kind}/{path.name}"} for path in files]
        table = {"image": cells, "label": [number] * len(cells), "domain": ["app"] * len(cells)}
        pq.write_table(pa.table(table), folder / "hub" / f"part-{number}.parquet")
    add(folder / "hub", "hub")
    return plain


def tiny_values(data: Path) -> dict[str, Any]:
    """Values of options with which a run takes about a second."""
    values: dict[str, Any] = {"data": str(data), "stream": ["first", "second", "third"], "unseen": ["unseen"]}
    values |= {"splits": ["test"], "size": 32, "width": 8, "epochs": 2, "batch": 6}
    return values | {"memory": 12, "memory_epochs": 4, "memory_batch": 5, "replay": 3, "candidates": 6}


def tiny_options(agent: str, data: Path, **changes: Any) -> Options:
    """The checked options of an agent's run that takes about a second; keywords change them."""
    return checked({**tiny_values(data), "agent": agent, **changes})


# Options of a short run on two domains, one unseen, with a validation split.
SHORT: dict[str, Any] = {"stream": ["first", "second"], "unseen": ["unseen"], "splits": ["validation", "test"]}
SHORT |= {"epochs": 1}
# The original's variant, with a small network, and chunks that hold a whole batch of tiny_options.
ORIGINALS: dict[str, Any] = {"variant": "original", "network": "slim", "plane": "half", "chunks": 2}


def input_spec(**changes: Any) -> InputSpec:
    """The default way from image to network, with some of it changed."""
    return InputSpec.from_options(checked(changes))


def random_samples(
    count: int, domain: int = 0, *, seed: int = 0, shape: tuple[int, ...] = (3, 32, 17), first_number: int = 0
) -> Samples:
    """Samples of one domain, labels 0 and 1 in turn; fakes are brighter in one corner of the plane."""
    rng = np.random.default_rng([seed, domain])
    spectra = rng.uniform(-1, 1, (count, *shape)).astype(np.float16)
    labels = np.arange(count) % 2
    spectra[labels == 1, :, :4, :4] += 1 + domain
    return Samples.from_array(spectra, labels, domain, first_number)


def random_scores(
    seed: int = 0, steps: int = 3, images: int = 24, domains: tuple[str, ...] = ("b", "a", "c", "new")
) -> pd.DataFrame:
    """A table of random scores; a real image and its fake share a group, and the groups appear in every domain."""
    rng = np.random.default_rng(seed)
    rows = [
        (step, domain, split, f"{domain}/{k}", f"group{k // 3:02d}", k % 2, round(rng.random(), 2))
        for step in range(1, steps + 1)
        for domain in domains
        for split in ("validation", "test")
        for k in range(images)
    ]
    frame = pd.DataFrame(rows, columns=["step", "domain", "split", "image", "group", "label", "score"])
    return frame.assign(logit=0.0)


def begun(agent: Agent, step: Step) -> Step:
    """Begins the first part of a step, and gives it."""
    part = next(agent.parts(step))
    agent.begin_step(part)
    return part


def train(agent: Agent, steps: Sequence[Step]) -> list[float]:
    """The protocol's loop; gives the loss of every batch."""
    losses = []
    for step in steps:
        for part in agent.parts(step):
            agent.begin_step(part)
            losses += [agent.observe(batch) for batch in part.batches(agent.options.seed)]
        agent.end_step(step)
    return losses


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a network's weights and statistics."""
    return {k: v.detach().clone() for k, v in network.state_dict().items()}


def check_resuming(opts: Options, steps: Sequence[Step], spectra: torch.Tensor) -> None:
    """From the first step and the last two, bit for bit, with the same scores before and after."""
    whole, done = build_agent(opts), []
    for step in steps:
        train(whole, [step])
        file = io.BytesIO()
        torch.save(whole.state_dict(), file)  # through a file, as a run does it
        done.append((file, whole.score(spectra) if step.last else None))
    for cut in sorted({1, len(steps) - 2, len(steps) - 1}):
        file, scores = done[cut - 1]
        file.seek(0)
        restored = build_agent(opts)
        torch.manual_seed(cut)  # nothing may hang on the global random state
        np.random.seed(cut)
        restored.load_state_dict(torch.load(file, weights_only=True))
        if scores is not None:
            np.testing.assert_array_equal(restored.score(spectra), scores)
        train(restored, steps[cut:])
        assert same(whole.state_dict(), restored.state_dict()), (opts.agent, cut)
        np.testing.assert_array_equal(restored.score(spectra), done[-1][1])


class SlowReservoir:
    """The original's reservoir: what fits is appended; the slots of the rest are drawn for the whole batch at once.

    Of a batch that fits in part, `offer` gives only the slots of the rest.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.images, self.seen = capacity, [], 0

    def offer(self, images: Sequence[Any], generator: torch.Generator) -> set[int]:
        seen_before = max(self.seen, self.capacity)
        slots = (torch.rand(len(images), generator=generator) * seen_before).long().tolist()
        free = self.capacity - len(self.images)
        written = set(range(len(self.images), len(self.images) + len(images))) if free >= len(images) else set()
        for image, slot in zip(images, slots, strict=True):
            self.seen += 1
            if len(self.images) < self.capacity:
                self.images.append(image)
            elif slot < self.capacity:
                written.add(slot)
                self.images[slot] = image  # a later write wins
        return written


def offer_balanced(
    slots: list[tuple[Any, int]],
    met: set[int],
    image: Any,
    group: int,
    capacity: int,
    random: torch.Generator,
    *,
    whole: bool,
) -> None:
    """GDumb's algorithm 1 for one image; a slot holds an image and its group, and ties go to the smallest group.

    The groups that were met so far count, also those without an image. The original rounds a group's share down
    (`whole`), which closes the memory once it is full.
    """
    count = {g: sum(1 for _, h in slots if h == g) for g in met}
    share = capacity / len(count) if count else capacity
    if group in count and count[group] >= (share // 1 if whole else share):
        return
    met.add(group)
    if len(slots) < capacity:
        slots.append((image, group))
    else:
        largest = min(g for g in count if count[g] == max(count.values()))
        places = [k for k, (_, g) in enumerate(slots) if g == largest]
        slots[places[int(torch.randint(len(places), (), generator=random))]] = (image, group)


def herding_gaps(features: np.ndarray, chosen: list[int]) -> list[float]:
    """|mean - (x + sum of chosen) / k| for every x that is not chosen yet: what algorithm 4's argmin goes over."""
    mean, k = features.mean(0), len(chosen) + 1
    return [
        np.inf if i in chosen else float(np.linalg.norm(mean - (features[i] + features[chosen].sum(0)) / k))
        for i in range(len(features))
    ]


def slow_herding(features: np.ndarray, count: int) -> list[int]:
    """The first exemplars by algorithm 4."""
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(int(np.argmin(herding_gaps(features, chosen))))
    return chosen


def same(a: Any, b: Any) -> bool:
    """Whether two nested states are equal bit for bit."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def survey_rows(count: int, seed: int = 0, **columns: object) -> pd.DataFrame:
    """A joined table of JPEG files: pairs of real and fake with one history, two groups of three in train."""
    rng = np.random.default_rng(seed)
    place = np.arange(count)
    table = pd.DataFrame([Row(f"{k}.jpg", format="JPEG", mode="RGB", colours="RGB", used=True) for k in place])
    return table.assign(
        **{
            "sha256": [rng.bytes(32).hex() for _ in place],
            "phash": [rng.bytes(8).hex() for _ in place],
            "bytes": rng.integers(3000, 4000, count),
            "width": 128,
            "height": 128,
            "quality": 90.0,
            "label": place % 2,
            "group": place // 2,
            "domain": "one",
            "split": np.where(place // 2 % 3 == 0, "test", "train"),
            **columns,
        }
    )


def read_domain(folder: Path, name: str = "first") -> Domain:
    """One domain of a data set."""
    return read_domains(folder, [name])[0]


def content_fingerprint(domain: Domain) -> str:
    """The fingerprint of a domain, from the contents of its files."""
    return domain.fingerprint(file_hash(domain.root / image) for image in domain.table["image"])


def write_splits(data: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table) -> None:
    """Writes splits.csv with validation and test images in turn, each in a group of its own."""
    files = sorted(p.relative_to(data).as_posix() for p in data.rglob("*.png"))
    table = pd.DataFrame({"file": files, "split": "test", "group": [f"photo {k}" for k in range(len(files))]})
    table.loc[::2, "split"] = "validation"
    change(table).to_csv(data / "splits.csv", index=False)


def truncate(path: Path) -> None:
    """Writes an image that ends too early."""
    Image.fromarray(photo(side=64)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])


def replace_scores(folder: RunFolder, scores: pd.DataFrame) -> None:
    """Gives a run other scores, as if it had them from the beginning."""
    folder.write_table(SCORES, scores)
    folder.write_manifest({**folder.manifest, "files": folder.files | folder.hashes(folder.path / SCORES)})


def cut(path: Path) -> None:
    """Leaves half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    """Leaves nothing of a file."""
    path.write_bytes(b"")


def flip_a_bit(path: Path, place: float = 0.7) -> None:
    """Flips a bit of a file, whose time stays."""
    content, stat = bytearray(path.read_bytes()), path.stat()
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


DAMAGES = (cut, empty, flip_a_bit)


def animate(path: Path) -> None:
    """Writes an image of three frames."""
    frames = [Image.fromarray(photo(k)) for k in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])


def picture(path: Path, side: int = 32, **settings: Any) -> Path:
    """A square image that is written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(texture(np.random.default_rng(side), 0, side)).save(path, **settings)
    return path


def noisy(seed: int = 0) -> Callable[[Any], float]:
    """Logits that tend to the right sign, and are far too large."""
    rng = np.random.default_rng(seed)
    return lambda row: 8 * (2 * row.label - 1) + rng.normal(0, 12)


def moved(network: Network, seed: int) -> Network:
    """A network whose statistics are no longer those it was made with."""
    torch.manual_seed(seed)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, 64, 64))
    return network.eval()


_SETS = "--training_set GAN-S VFHQ ForenSynths DeepFake --test_set GAN-S VFHQ-F ForenSynths DeepFake NeuralTextures "
_SETS += "--continual_learning "
# The lines of the original code's README, as they stand: by agent.
README = {
    "icarl": _SETS + "CL --cl_type ni --agent ICARL --retrieve random --update random --mem_size 5000 ",
    "gdumb": _SETS + "CL --cl_type=ni --agent GDUMB --mem_size 3000 --mem_epoch 10 --minlr 0.0005 --clip 10 ",
    "lwf": _SETS + "CL --cl_type=ni --agent LWF  ",
    "mir": _SETS + "CL --cl_type=ni --agent ER --retrieve MIR --update random --mem_size 5000",
    "separate": _SETS + "NoCL",
    "sequential": _SETS + "Normal",
}


def plain_picture(path: Path, shade: int = 0) -> None:
    """Writes a small image of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (shade % 256, 40, 90)).save(path)


def pictures(folder: Path, places: Iterable[str], count: int = 5, suffix: str = ".png") -> Path:
    """`count` images in each of the places; a name is in all of them."""
    for place in places:
        for k in range(count):
            plain_picture(folder / place / f"{k:03d}{suffix}", k)
    return folder


def image_counts(found: DetectedLayout) -> dict[tuple[str, str, int], int]:
    """The number of images by domain, split and label."""
    return found.table.groupby(["domain", "split", "label"]).size().to_dict()


def statuses(text: str) -> dict[str, str]:
    """Notebook and status in the table that `cldf reproduce` prints."""
    rows = [re.split(r"  +", line) for line in text.splitlines() if re.match(r"\d\d_\w+  ", line)]
    return {row[0]: row[1] for row in rows}


def hashes(folder: Path) -> dict[str, str]:
    """Hash of every file below a folder, by its relative path."""
    return {p.relative_to(folder).as_posix(): file_hash(p) for p in folder.rglob("*") if p.is_file()}


def state(folder: Path) -> dict[str, tuple[str, int]]:
    """Hash and time of every file below a folder."""
    return {
        p.relative_to(folder).as_posix(): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in folder.rglob("*")
        if p.is_file()
    }


def sentence_of(call: Callable[[], object], *words: str) -> str:
    """The one sentence of a DataError, which contains the words."""
    with pytest.raises(DataError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence, sentence
    return sentence


def faceforensics(folder: Path, make: Callable[[Path], None], methods: Iterable[str], sources: Iterable[str]) -> Path:
    """Six originals and six fakes of each; 4 and 5 are not tied to 0 .. 3."""
    for source in sources:
        for k in range(6):
            make(folder / "original_sequences" / source / f"00{k}")
    for method in methods:
        for target, other in ((0, 1), (1, 0), (2, 1), (3, 2), (4, 5), (5, 4)):
            make(folder / "manipulated_sequences" / method / f"00{target}_00{other}")
    return folder


def two_frames(folder: Path) -> None:
    """Writes a folder with two frames."""
    pictures(folder.parent, [folder.name], 2)


def film(path: Path, seconds: float = 3.0, rate: int = 5, suffix: str = ".mp4") -> Path:
    """A video whose brightness tells the frame's number."""
    import av

    path = path.with_name(path.name + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        for k in range(round(seconds * rate)):
            pixels = np.full((32, 32, 3), 10 * k, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode())
    return path


def damaged_runs(run: RunFolder, folder: Path, name: str) -> dict[str, str]:
    """Copies a run, with another file that is damaged or foreign in each copy; gives the file of each, by its name."""
    whole, options = run.manifest, run.manifest["options"]
    no_hash = {key: value for key, value in whole.items() if key != "files"}
    table = io.BytesIO()
    pd.DataFrame({"a": [1]}).to_parquet(table)
    manifests: list[Any] = ["", "{", "[1]", "\xff", {}, {"name": "an app"}, {**whole, "options": [1]}]
    manifests += [{**whole, "options": {**options, "stream": None}}, "[" * 10_000]
    bad = [("manifest.json", m if isinstance(m, str) else json.dumps(m), whole) for m in manifests]
    bad += [("scores.parquet", content, m) for content in (b"", b"PAR1", table.getvalue()) for m in (whole, no_hash)]
    places = {}
    for number, (file, content, manifest) in enumerate(bad):
        copy = RunFolder(shutil.copytree(run.path, folder / f"{name}{number}"))
        copy.write_manifest(manifest)
        (copy.path / file).write_bytes(content.encode("latin-1") if isinstance(content, str) else content)
        places[copy.path.name] = file
    return places


# A cell of a notebook that leaves a figure; NAME stands for the notebook's name.
GOOD = """from cldf_core.workflow.parameters import from_notebook
folder = from_notebook(NAME, globals()).folder.figures
folder.mkdir(parents=True, exist_ok=True)
_ = (folder / f"{NAME}.png").write_text("old")"""


def write_notebook(root: Path, name: str, *cells: str, known: bool = True) -> None:
    """A small notebook: the parameters with their defaults, and the cells."""
    parameters = "\n".join(f"{key} = {FIELDS[key].default!r}" for key in NOTEBOOKS[name])
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if not known:
        del kernel["language"]  # papermill will not start it
    made = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
    made.cells = [nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]})]
    made.cells += [nbformat.v4.new_code_cell(cell.replace("NAME", repr(name))) for cell in cells]
    path = root / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, path)


def processes_of(root: Path) -> list[psutil.Process]:
    """All processes that work in a root."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("CLDF_ROOT") == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def until(true: Callable[[], Any], seconds: float = 300) -> Any:
    """Waits until a call gives something true, and returns that."""
    end = time.monotonic() + seconds
    while not (value := true()):
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.05)
    return value


def copy_project(folder: Path) -> Path:
    """What a project root needs to run notebooks; the package too, so that no edit changes it meanwhile."""
    ignored = shutil.ignore_patterns(".ipynb_checkpoints", "__pycache__")
    for name in ("notebooks", "params", "cldf_core"):
        shutil.copytree(PROJECT / name, folder / name, ignore=ignored)
    shutil.copyfile(PROJECT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def call(root: Path, *words: str, module: str = "cldf_core.cli") -> subprocess.CompletedProcess[str]:
    """Runs a module, by default cldf, in a project of its own, in one thread."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("CLDF_")}
    env["OMP_NUM_THREADS"] = "1"
    return subprocess.run([sys.executable, "-m", module, *words], cwd=root, env=env, capture_output=True, text=True)


def pyproject() -> dict[str, Any]:
    """The project's pyproject.toml."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
