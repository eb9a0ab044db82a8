"""Recognises how real and fake images are laid out, in words and as a table; what fits no layout or two is refused."""

import itertools
import os
import re
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from cldf_core.data.console import counted
from cldf_core.data.domains import CLASSES, SPLIT_NAMES, DataError
from cldf_core.data.images import SUFFIXES
from cldf_core.data.layouts import faceforensics, original, tables
from cldf_core.data.layouts.original import SPLITS_FILE, is_original_layout, is_part_of_original
from cldf_core.data.layouts.tables import in_few_words
from cldf_core.data.listing import VIDEO_SUFFIXES, Listing, ignored, list_images

COLUMNS = ("image", "label", "domain", "split", "group", "video")
ORIGINAL, VIDEOS = "original", "faceforensics-videos"
# Names of folders of real and of fake images, in lower case.
CLASS_FOLDERS = {
    "0_real-1_fake": (("0_real",), ("1_fake",)),
    "nature-ai": (("nature",), ("ai",)),
    "imagefolder": (("real", "reals"), ("fake", "fakes")),
}
CLASS_OF = {name: label for kinds in CLASS_FOLDERS.values() for label, names in enumerate(kinds) for name in names}
_IN_WORDS = {
    ORIGINAL: "the original's layout, real/<domain>/trainA and so on",
    "0_real-1_fake": "folders 0_real and 1_fake, as CNNDetection and ForenSynths have them",
    "nature-ai": "folders nature and ai, as GenImage has them",
    "imagefolder": "folders of real and of fake images",
    "faceforensics": "FaceForensics++, frames",
    VIDEOS: "FaceForensics++, whole videos",
    "table": "a table of images and labels",
}
FOLDER = "folder"  # what names the domain: the folder below that of a class
_MANY_FOLDERS = 10  # fewer whole folders cannot be divided among three splits


@dataclass(frozen=True)
class DetectedLayout:
    """The images of a data set whose layout was recognised.

    The table has one row per image and domain: image (relative posix path; with faceforensics-videos the video's),
    label (0 real, 1 fake), domain, split (train, validation, test, or "" if the layout has none), group (images that
    must stay together), video ("" if the image is no frame of a video).
    """

    layout: str  # a key of _IN_WORDS
    sentence: str  # describes what was recognised, and what is unusual about it
    table: pd.DataFrame
    root: Path  # the folder that image paths start from


def walk(folder: Path) -> Listing:
    """Lists what is below a folder; refuses one that cannot be read, and names that no table holds."""
    tree = list_images(folder)
    if unread := [what for path, what in tree.left_alone if not path.parts]:
        raise DataError(f"{folder} is {unread[0]}; needed: a folder that may be listed")
    for path in (*tree.images, *tree.videos):
        if re.search("[\x00-\x1f\ud800-\udfff]", str(path)):
            raise DataError(f"{str(folder / path)!r} has a name that no table can hold; needed: UTF-8 on one line")
    return tree


def detect(folder: Path, *, name: str = "", labels: str = "", domain_from: str = "") -> DetectedLayout:
    """Recognises the layout of a folder of images, or of a CSV or parquet table that lists them; lists all images.

    The folder may also be one that holds that of the images and nothing else of the kind. The name is that of the
    domain of images that lie in no folder of a domain; "" takes the folder's. The labels are those of `tables.read`,
    and so is `domain_from`; in folders of classes it may be FOLDER: each folder below a class's is a domain.

    Raises:
        DataError: no layout is recognised, or several are, or the recognised one is broken.
    """
    folder = Path(os.path.abspath(os.path.expanduser(folder)))
    if folder.is_file():
        table, notes = tables.read(folder, name=name, labels=labels, domain_from=domain_from)
        return _detected("table", folder.parent, table, notes)
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; needed: a folder of images, or a CSV or parquet table")
    outer = folder
    folder, tree, beside = _stepped_into(folder, walk(folder))
    name = name if name and folder == outer else folder.name or "data"
    layout = _layout(folder, tree)
    if labels and layout != "table":
        raise DataError(f"--labels is {labels!r}, but {folder} is no table; folders say what is real")
    if domain_from and (layout not in ("table", *CLASS_FOLDERS) or (layout != "table" and domain_from != FOLDER)):
        allowed = (
            f"allowed: a table's column, or {FOLDER!r} for folders of real and of fake images with folders in them"
        )
        raise DataError(f"--domain-from is {domain_from[:80]!r}, but {folder} is in the layout {layout}; {allowed}")
    notes = list[str]()
    if layout == "table":
        (path,) = _tables(folder, tree)
        table, notes = tables.read(path, name=name, labels=labels, domain_from=domain_from)
    elif layout == ORIGINAL:
        table = _read_original(folder, tree)
    elif layout == "faceforensics":
        videos = not any(faceforensics.is_inside(image) for image in tree.images)
        table, notes = faceforensics.read(folder, tree.videos if videos else tree.images, videos=videos)
        layout = VIDEOS if videos else layout
    else:
        table, notes = _read_classes(folder, tree, layout, name, by_folder=bool(domain_from))
    return _detected(layout, folder, table, [*notes, *_ignored(folder, tree, layout, table), *beside])


def _stepped_into(folder: Path, tree: Listing) -> tuple[Path, Listing, list[str]]:
    """Steps into the folder that holds all images and videos, as most archives have one; says what lies beside it.

    It stays where the layout is the same from there: the folder is the name of the one domain then.
    """
    inner, inside, notes = folder, tree, list[str]()
    while name := _wrapping(inside):
        beside = [path for path in inside.others if path.parts[0] != name]
        alone = [(path, what) for path, what in inside.left_alone if path.parts[:1] != (name,)]
        notes += [f"All is in the folder {name}.", *Listing([], [], beside, [], alone).sentences()]
        inner = inner / name
        inside = walk(inner)
    tops = {path.parts[0] for path in inside.folders}
    if is_original_layout(inner) or tops & set(faceforensics.TOPS) or _tables(inner, inside):
        return inner, inside, notes
    domains = {_domain_above(image.parts[:-1], CLASS_OF, "") for image in inside.images}
    return (inner, inside, notes) if len(domains) > 1 else (folder, tree, [])


def _domain_above(parts: Sequence[str], classes: Container[str], otherwise: str) -> str:
    """The first of an image's folders that is neither of a class nor of a split, above its class folder."""
    above = itertools.takewhile(lambda part: part.casefold() not in classes, parts)
    return next((part for part in above if part.casefold() not in SPLIT_NAMES), otherwise)


def _wrapping(tree: Listing) -> str:
    """The name of the one folder that all is in, or "" if there is none, or if its name means something."""
    loose = [path for path in (*tree.images, *tree.videos, *tree.others) if len(path.parts) == 1]
    if any(path.suffix.lower() in (*SUFFIXES, *VIDEO_SUFFIXES, *tables.SUFFIXES) for path in loose):
        return ""
    files = {path.parts[0] for path in (*tree.images, *tree.videos)}
    names = files | {path.parts[0] for path in tree.folders if any(map(_means_something, path.parts))}
    return names.pop() if len(names) == 1 and not any(map(_means_something, names)) else ""


def _means_something(name: str) -> bool:
    """Whether a folder's name is that of a class, a split or a part of a known layout."""
    lower = name.casefold()
    return lower in CLASS_OF or lower in SPLIT_NAMES or name in faceforensics.TOPS or is_part_of_original(name)


def _layout(folder: Path, tree: Listing) -> str:
    """The one layout that the names of the folders show."""
    names = {name.casefold(): place for place in reversed(tree.folders) for name in place.parts}
    complete = [k for k, kinds in CLASS_FOLDERS.items() if all(names.keys() & set(kind) for kind in kinds)]
    if is_original_layout(folder) and "imagefolder" in complete:
        complete = [ORIGINAL]  # its domains may have any names
    elif len(complete) > 1:
        complete = _outermost(tree, complete)
    if names.keys() & set(faceforensics.TOPS):
        complete.append("faceforensics")
    if len(complete) > 1:
        several = f"{folder} is in several layouts at once, {' and '.join(complete)}"
        raise DataError(f"{several}; needed: one of them, so name the folder of one")
    if complete:
        return complete[0]
    if len(_tables(folder, tree)) == 1 and not is_original_layout(folder):
        return "table"
    for kinds in CLASS_FOLDERS.values():
        for here, missing in (kinds, kinds[::-1]):
            if lonely := [names[name] for name in here if name in names]:
                needed = f"a folder {missing[0]} somewhere in {folder}"
                raise DataError(f"{folder / lonely[0]} has no counterpart; needed: {needed}")
    if parts := [place for place in tree.folders if is_part_of_original(place.name)]:
        raise DataError(f"{folder / parts[0]} is not where the original's layout has it; needed: {original.PLACES}")
    raise DataError(
        f"{folder} is in no layout that is recognised; allowed: the original's ({original.PLACES}), folders 0_real and "
        "1_fake, nature and ai, or real and fake, FaceForensics++'s original_sequences and manipulated_sequences, or "
        "one CSV or parquet table with the columns path and label"
    )


def _outermost(tree: Listing, complete: list[str]) -> list[str]:
    """The layouts of the outermost class folders, if class folders lie in each other; all if these disagree."""
    class_of = {name: (layout, label) for layout in complete for name, label in _labels(layout).items()}
    outer = set()
    for place in tree.folders:
        found = [class_of[name.casefold()] for name in place.parts if name.casefold() in class_of]
        if len({label for _, label in found}) > 1 and len({layout for layout, _ in found}) > 1:
            return complete
        outer |= {layout for layout, _ in found[:1]}
    return [layout for layout in complete if layout in outer]


def _labels(layout: str) -> dict[str, int]:
    """The label of each name of a class folder."""
    return {name: label for label, names in enumerate(CLASS_FOLDERS[layout]) for name in names}


def _tables(folder: Path, tree: Listing) -> list[Path]:
    return [folder / p for p in tree.others if len(p.parts) == 1 and p.suffix.lower() in tables.SUFFIXES]


def _read_original(folder: Path, tree: Listing) -> pd.DataFrame:
    names, splits = original.original_domains(folder), original.read_splits(folder)
    domains = [original.read_original_domain(folder, name, names, splits, tree) for name in names]
    return pd.concat([d.table.assign(domain=d.name, video="") for d in domains], ignore_index=True)


def _read_classes(
    folder: Path, tree: Listing, layout: str, name: str, *, by_folder: bool
) -> tuple[pd.DataFrame, list[str]]:
    label_of, rows, filled = _labels(layout), [], set()
    for image in tree.images:
        parts = image.parts[:-1]
        names = [p.casefold() for p in parts]
        places = [k for k, part in enumerate(names) if part in label_of]
        if not places:
            continue
        if len({CLASS_OF[part] for part in names[places[0] :] if part in CLASS_OF}) > 1:
            raise DataError(f"{folder / image} is in a folder of real and in one of fake images; needed: one of them")
        if parts_of_original := [part for part in parts if is_part_of_original(part)]:
            found = f"{folder / image} is in a folder {parts_of_original[0]}, as the original's layout has them, but"
            needed = f"{original.PLACES}, in the folder that is named or in the one that it holds"
            raise DataError(f"{found} not where that has them; needed: {needed}")
        splits = {SPLIT_NAMES[part] for part in names if part in SPLIT_NAMES}
        if len(splits) > 1:
            raise DataError(f"{folder / image} is in folders of several splits; needed: one of train, val, test")
        at = places[0]
        filled.add(PurePosixPath(*parts[: at + 1]))
        domain = _domain_above(parts, label_of, name)
        below = [p for p in parts[at + 1 :] if p.casefold() not in SPLIT_NAMES]
        if by_folder:
            domain, *below = below or [domain if label_of[names[at]] else tables.POOL]
        # A real and a fake image of the same name may be a pair, so the group's name does not contain the class.
        place = "/".join([*parts[:at], *parts[at + 1 :]])
        row = (str(image), label_of[names[at]], domain, "".join(splits), f"{place}/{image.stem}".lstrip("/"), "")
        rows.append((*row, place if below else ""))
    for inner in tree.folders:
        is_class = [part.casefold() in label_of for part in inner.parts]
        if is_class[-1] and sum(is_class) == 1 and inner not in filled:
            raise DataError(f"{folder / inner} holds no image; looked for: {', '.join(SUFFIXES)}")
    return _with_whole_folders(pd.DataFrame(rows, columns=[*COLUMNS, "below"]))


def _with_whole_folders(table: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Makes a group of each folder below a class folder, as it may hold the frames of a video."""
    notes = []
    inside = table["below"] != ""
    folders = table[inside].groupby(["domain", "label"])["below"].transform("nunique").reindex(table.index)
    whole = inside & (folders >= _MANY_FOLDERS)
    if whole.any():
        notes.append("Images of one folder below a class folder stay together, as frames of a video do.")
    if (inside & ~whole & (folders > 1)).any():
        few = f"Some class folders hold fewer than {_MANY_FOLDERS} folders, whose images count as single ones"
        notes.append(f"{few}; frames of a video: edit the column group; generators: --domain-from {FOLDER}.")
    return table.assign(group=table["group"].mask(whole, table["below"])).drop(columns="below"), notes


def _ignored(folder: Path, tree: Listing, layout: str, table: pd.DataFrame) -> list[str]:
    """Sentences on files that are not in the table; images of another layout are refused."""
    taken = set(table["image"])
    images, videos = ([p for p in paths if str(p) not in taken] for paths in (tree.images, tree.videos))
    for image in images if layout in (ORIGINAL, *CLASS_FOLDERS) else []:
        if any(part.casefold() in CLASS_OF or is_part_of_original(part) for part in image.parts[:-1]):
            other = f"{folder / image} is not in the layout {layout} of the other images"
            raise DataError(f"{other}; needed: one layout, so name the folder of one")
    used = {SPLITS_FILE} if layout == ORIGINAL else {p.name for p in _tables(folder, tree) if layout == "table"}
    others = [p for p in tree.others if str(p) not in used]
    kinds = ((images, "image"), (videos, "video"), (others, "other file"))
    return [text for paths, what in kinds for text in ignored(paths, what)] + tree.sentences_on_left_alone()


def _detected(layout: str, root: Path, table: pd.DataFrame, notes: list[str]) -> DetectedLayout:
    """Checks the splits and writes the sentence; validation images become test images if there are no test images."""
    if table.empty:
        raise DataError(f"{root} holds no image in its layout, {layout}; looked for: {', '.join(SUFFIXES)}")
    table = table[list(COLUMNS)].sort_values(["domain", "label", "image"], kind="stable", ignore_index=True)
    names, moved, single, without = sorted(set(table["domain"])), [], [], []
    for name in names:
        if "\\" in name:
            raise DataError(f"{root} has a domain {name!r}; needed: a folder's name without \\")
        domain = table[table["domain"] == name]
        splits = set(domain["split"])
        if "" in splits and len(splits) > 1:
            first = domain.loc[domain["split"] == "", "image"].iloc[0]
            raise DataError(f"{root / first} has no split, others of domain {name!r} have one; needed: all or none")
        if splits == {"train", "validation"}:
            moved.append(name)
            table.loc[domain.index, "split"] = domain["split"].replace("validation", "test")
        if domain["label"].nunique() == 1:
            single.append(f"{name} (only {CLASSES[domain['label'].iloc[0]]})")
        if splits == {""}:
            without.append(name)
    files = table.drop_duplicates("image")
    kind, fakes = ("video" if layout == VIDEOS else "image"), int(files["label"].sum())
    counts = f"{counted(len(files), kind)}, {len(files) - fakes} real and {fakes} fake"
    domains = f"{counted(len(names), 'domain')}: {in_few_words(names)}"
    sentences = [f"Recognised {layout}: {_IN_WORDS[layout]}. {counts}, in {domains}."]
    if without:
        sentences.append("There is no split." if without == names else f"There is no split in {in_few_words(without)}.")
    if moved:
        sentences.append(f"No test images in {in_few_words(moved)}: the validation images serve as test images.")
    if single:
        sentences.append(f"One class alone in {in_few_words(single)}.")
    return DetectedLayout(layout, " ".join(sentences + notes), table, root)
