"""Data sets inside other files: parquet files that hold images, and tar shards as WebDataset has them.

They become plain files, with names that the project makes, and a table of what the container says of each:

<project>/data/<name>/files/<shard>/<row>.<format>    the bytes of an image, as they were
<project>/data/<name>/files/unpacked.csv              path, label, domain, split, video, group, unpacked from
"""

import hashlib
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from cldf_core.data.columns import table_of
from cldf_core.data.console import counted, progress_bar
from cldf_core.data.domains import SPLIT_NAMES, DataError
from cldf_core.data.files import locked, whole_file
from cldf_core.data.images import SUFFIXES
from cldf_core.data.intake.archives import Extracted, checked_hash, filled, made_from, refusals_told
from cldf_core.data.intake.members import ENDING, MOST_FILES
from cldf_core.data.intake.shards import LABELS, ParquetShard, Shard, TarShard
from cldf_core.data.layouts import tables
from cldf_core.data.layouts.recognition import detect
from cldf_core.data.listing import ignored, list_images

TABLE = "unpacked.csv"
_FORMATS = {b"\xff\xd8\xff": ".jpg", b"\x89PNG\r\n\x1a\n": ".png", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif"}
_COLUMNS = ("path", "label", "split", "video", "group", "domain", tables.MAKER, tables.ORIGIN)
_SPLIT = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?![a-z])", re.IGNORECASE)  # at the beginning of a file's name
_POINTER = b"version https://git-lfs"  # how a file begins that Git has not fetched


def shards(source: Path) -> list[Shard]:
    """The parquet files with images, or the tar shards, that a source is or holds; none if it is another thing.

    Raises:
        DataError: a parquet file is damaged, or several columns may hold its images, or both kinds are in one folder.
    """
    if source.is_file():
        return [shard] if (shard := _shard(source, source.name)) else []
    tree = list_images(source)
    names = [path for path in tree.others if path.suffix.lower() == ".parquet" or ENDING.search(path.name)]
    if not names or ((tree.images or tree.videos) and _is_laid_out(source)):
        return []
    found = [shard for path in names if (shard := _shard(source / path, str(path)))]
    if not (found or tree.images or tree.videos) and (tars := [path for path in names if ENDING.search(path.name)]):
        raise DataError(f"{source / tars[0]} is no shard that can be read: cut short, or not as a tar of images is")
    if len({type(shard) for shard in found}) > 1:
        both = f"{source} holds parquet files with images, such as"
        first = {type(shard): shard.name for shard in reversed(found)}
        both += f" {first[ParquetShard]}, and tar shards, such as {first[TarShard]}"
        raise DataError(f"{both}; needed: one kind, so name the folder or the file of one")
    if found and isinstance(found[0], TarShard):  # an archive among shards is one of them, whatever it lacks
        known = {shard.name for shard in found}
        found += [TarShard(source / p, str(p)) for p in names if str(p) not in known and TarShard.may_be(source / p)]
    return sorted(found, key=lambda shard: shard.name)


def unpack(
    source: Path,
    folder: Path,
    *,
    name: str = "",
    sha256: str | None = None,
    most_members: int | None = None,
    labels: str = "",
    domain_from: str = "",
) -> Extracted:
    """Unpacks the images of `shards` into a new folder, with a table of them that `detect` reads.

    All that is said of the images is read and checked before the first is written. Memory holds one image, or a page
    of a parquet file. An interrupted call is gone on with as in `extract`, whose arguments are the first ones here.

    Args:
        source: a file or a folder, for which `shards` finds some.
        folder: the folder to make; if it was made from the same source, its images stay, and its table is made again.
        name: of the domain where the images name none.
        sha256: that a single file must have, in hexadecimal.
        most_members: images that there may be, and members of a tar; None takes MOST_FILES.
        labels: those of `tables.read`.
        domain_from: the column, or the field of JSON files, that names the domain, such as the fakes' generator.

    Raises:
        DataError: a file is damaged, a bomb, or lacks something; the folder exists already, or the disk is too small.
    """
    found, folder, most = shards(source), folder.resolve(), MOST_FILES if most_members is None else most_members
    if sha256 and source.is_dir():
        raise DataError(f"{source} is a folder, but --sha256 is given; allowed: --sha256 of a file")
    listed, notes = _listed(source, found, folder, most, labels, domain_from)
    if tables.MAKER in listed:
        listed = listed.drop(columns="domain", errors="ignore")
        notes.append(f"Domains are what is called {domain_from or tables.MAKER}.")
    tables.checked(source, listed, _as_it_is, name=name, labels=labels)
    identity = {"name": source.name, "sha256": _fingerprint(source, found, sha256)}
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with locked(folder.with_name(f".{folder.name}.lock")), refusals_told(source, folder):
            if not folder.exists():
                with filled(folder, {**identity, "bytes": sum(shard.size() for shard in found)}) as part:
                    _write(found, part, len(listed), folder)
    made_from(folder, identity)
    written = {path.relative_to(folder).with_suffix("").as_posix(): path.suffix for path in folder.glob("*/*")}
    kept = listed["path"].isin(written)
    if not kept.any():
        raise DataError(f"{source} holds no image; looked for: {', '.join(SUFFIXES)}, by the first bytes of each")
    with whole_file(folder / TABLE) as path:
        table = listed[kept]
        table.assign(path=table["path"] + table["path"].map(written)).to_csv(path, index=False)
    if without := [*itertools.chain(*(shard.without for shard in found)), *listed.loc[~kept, tables.ORIGIN]]:
        were = "was" if len(without) == 1 else "were"
        notes.append(f"{counted(len(without), 'row')} without an image {were} left out, the first is {without[0]}.")
    return Extracted(folder, int(kept.sum()), 0, (), tuple(notes))


def _shard(path: Path, name: str) -> Shard | None:
    """The shard that a file is, known by its first bytes and what is in it."""
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise DataError(f"{path} only says where its content lies; needed: git lfs pull, or a download of it")
    if ParquetShard.may_be(path):
        shard = ParquetShard(path, name)
        return shard if shard.holds_images() else None
    return TarShard(path, name) if TarShard.may_be(path) and TarShard(path, name).holds_samples() else None


def _is_laid_out(folder: Path) -> bool:
    try:
        return bool(detect(folder).layout)
    except DataError:
        return False


def _fingerprint(source: Path, found: Sequence[Shard], sha256: str | None) -> str:
    """What a source is known by: the hash of a file, or of the names, sizes and times of those in a folder."""
    if source.is_file():
        return checked_hash(source, sha256)
    facts = [(shard.name, (stat := shard.path.stat()).st_size, stat.st_mtime_ns) for shard in found]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _listed(
    source: Path, found: Sequence[Shard], folder: Path, most: int, labels: str, domain_from: str
) -> tuple[pd.DataFrame, list[str]]:
    """What is said of each image, as text, with the columns of `Facts` and its path without a suffix; and sentences."""
    columns, from_names, empty, count = dict[str, None](), set[str](), list[str](), itertools.count()

    def rows() -> Iterator[list[str]]:
        for place, shard in enumerate(_told(found)):
            split, number = _split_in_name(shard.name), -1
            with refusals_told(shard.path, folder):
                for number, facts in shard.records(most, labels, domain_from):
                    if next(count) == most:
                        more = f"{source} has more than {most:,} images"
                        raise DataError(f"{more}; allowed: as many as --most-members says")
                    from_names.update(() if "split" in facts else (split,))
                    said = {"split": split, **facts, "path": f"{place:05}/{number:08}"}
                    yield [said.get(column, "") for column in _COLUMNS]
            columns.update(dict.fromkeys(shard.columns))
            empty.extend([shard.name] if number < 0 else [])

    table = table_of(rows(), dict.fromkeys(_COLUMNS, str))
    if domain_from and domain_from.strip().lower() not in columns:
        needed = f"needed: one of {tables.in_few_words(columns)}"
        raise DataError(f"--domain-from is {domain_from[:80]!r}, but {source} has no such column; {needed}")
    if table.empty:
        raise DataError(f"{source} holds no image; needed: rows with one, in {counted(len(found), found[0].KIND)}")
    if not table["label"].any():
        raise DataError(f"{source} has the columns {tables.in_few_words(columns)}; needed: a column label")
    notes = [f"Unpacked from {counted(len(found), found[0].KIND)}, the bytes of each image as they were."]
    notes += [f"Without an image: {tables.in_few_words(empty)}."] if empty else []
    if source.is_dir():
        names, tree = {shard.name for shard in found}, list_images(source)
        others = (path for path in (*tree.images, *tree.videos, *tree.others) if str(path) not in names)
        notes += [*ignored(sorted(others), "other file"), *tree.sentences_on_left_alone()]
    if from_names == {"train"} == {*table["split"]}:
        table["split"] = ""
        notes.append("All files are called train, which tells no split.")
    table = table[[column for column in table if column == "label" or (table[column] != "").any()]]
    rest = [column for column in columns if column not in (*table, *LABELS, "image")]
    if rest and not {"domain", "generator"} & {*table}:
        notes.append(f"All is one domain; --domain-from may be one of {tables.in_few_words(rest)}.")
    return table, notes


def _told(found: Sequence[Shard]) -> Iterator[Shard]:
    """Shards, with a bar that tells how many of them are read."""
    with progress_bar(len(found), "what is said of the images", unit="file") as bar:
        for shard in found:
            yield shard
            bar.update()


def _split_in_name(name: str) -> str:
    """The split that a file's name begins with, or that one of its folders is called."""
    *folders, file = PurePosixPath(name.lower()).parts
    if found := _SPLIT.match(file):
        return SPLIT_NAMES[found[1].lower()]
    return next((SPLIT_NAMES[part] for part in reversed(folders) if part in SPLIT_NAMES), "")


def _as_it_is(where: str, text: str) -> str:
    """Stands for the path of an image that is not unpacked yet."""
    return text


def _write(found: Sequence[Shard], part: Path, total: int, folder: Path) -> None:
    """Writes the images that are not there yet; one whose first bytes are of no known format is left out."""
    with progress_bar(total, "images") as bar:
        for place, shard in enumerate(found):
            (part / f"{place:05}").mkdir(exist_ok=True)
            for number, content in _images(shard, folder):
                if suffix := _suffix(content):
                    path = part / f"{place:05}" / f"{number:08}{suffix}"
                    if not path.is_file() or path.read_bytes() != content:
                        path.write_bytes(content)
                bar.update()


def _images(shard: Shard, folder: Path) -> Iterator[tuple[int, bytes]]:
    """The images of a shard; what is wrong with it is told here, and not what is wrong with the disk written to."""
    with refusals_told(shard.path, folder):
        yield from shard.images()


def _suffix(content: bytes) -> str:
    """The suffix of an image's format by its first bytes; "" where it is none that is read."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return ".webp"
    if content[4:12] == b"ftypavif":
        return ".avif" * (".avif" in SUFFIXES)
    return next((suffix for start, suffix in _FORMATS.items() if content.startswith(start)), "")
