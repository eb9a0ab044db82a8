"""The labels of images that are scored, where they are known: by a data set, by a layout, or by a folder's name."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cldf_core.data.domains import SPLIT_NAMES, DataError
from cldf_core.data.layouts.description import is_described
from cldf_core.data.layouts.original import split_of
from cldf_core.data.layouts.read import data_folder, domain_names, of_other_set, other_sets, read_domains, registered
from cldf_core.data.layouts.recognition import CLASS_OF, ORIGINAL, detect
from cldf_core.data.mini.build import EMBEDDED

COLUMNS = ("domain", "label", "split", "group")


def text_of(path: str | Path) -> str:
    """A path as text; bytes of a name that are none become escapes, since no table can hold them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def data_set(name: str) -> pd.DataFrame | None:
    """The images of a data set, by its name or its folder: path, name, COLUMNS; None where there is no such data set.

    The second is what a run calls the image. Of ffpp:Deepfakes, as a stream has it, they are those of this domain. A
    file or folder of the data set's name comes first. A data set that cannot be read is a DataError.
    """
    path = Path(os.path.expanduser(name))
    is_there = os.path.lexists(path)
    if not is_there and other_sets([name]):
        domain = of_other_set(name)
        return _rows(domain.table.assign(domain=name), domain.root)
    if not (is_described(path) if is_there else name in (*EMBEDDED, *registered())):
        return None
    folder = path if is_there else data_folder(name)
    domains = read_domains(folder, domain_names(folder))
    return pd.concat([_rows(domain.table.assign(domain=domain.name), domain.root) for domain in domains])


def with_labels(scores: pd.DataFrame, files: Sequence[Path], names: Sequence[str]) -> pd.DataFrame:
    """Makes the table that `results.score_tables` reads of the scores of files, in their order, found by these names.

    Its columns are image, COLUMNS, score (P(fake)), logit, verdict and reason as `score` gives them, and file, its path
    as it was found. The image of a data set has the name that a run on these data gives it, so that both can be paired;
    any other has its path. An image in several domains, as the real ones of FaceForensics++ are, has a row in each.
    Where data sets have a domain or a group of one name, theirs are called as a stream calls those of other sets. What
    neither a data set nor the layout of a folder knows is read off the folders' names; what these do not tell is
    missing.
    """
    sets = [name for name in dict.fromkeys(names) if name in (*EMBEDDED, *registered()) and not os.path.lexists(name)]
    once = [name for name in dict.fromkeys(names) if name in sets or name.partition(":")[0] not in sets]
    named = {name: table for name in once if (table := _known(name)) is not None}
    of_sets = [{*named[name]["domain"], *named[name]["group"].astype(str)} for name in sets]
    apart = len(sets) > 1 and len(set[str]().union(*of_sets)) < sum(map(len, of_sets))
    known = [_told_apart(name, table) if name in sets and apart else table for name, table in named.items()]
    table = (
        pd.concat(known).drop_duplicates(["path", "domain"])
        if known
        else pd.DataFrame(columns=["path", "name", *COLUMNS])
    )
    paths = [text_of(os.path.abspath(file)) for file in files]
    by_name = pd.DataFrame([_by_folders(file) for file in files], columns=["its_domain", "its_label", "its_split"])
    rows = pd.concat([scores.assign(path=paths), by_name], axis=1).merge(table, how="left", on="path")
    rows["domain"], rows["split"] = (rows[name].fillna(rows[f"its_{name}"]) for name in ("domain", "split"))
    rows["label"] = rows["label"].astype("Int64").fillna(rows["its_label"].astype("Int64"))
    rows["image"] = rows["name"].where(rows["name"].fillna("") != "", rows["file"])
    return rows.rename(columns={"probability": "score"})[
        ["image", *COLUMNS, "score", "logit", "verdict", "reason", "file"]
    ]


def _known(name: str) -> pd.DataFrame | None:
    """The images of a data set, or of a folder whose layout is recognised: in a name only where a run can read it."""
    if (table := data_set(name)) is not None or not os.path.isdir(os.path.expanduser(name)):
        return table
    try:
        found = detect(Path(name))
    except DataError:
        return None
    table = _rows(found.table, found.root)
    return table if found.layout == ORIGINAL else table.assign(name="")


def _told_apart(data: str, table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(**{name: data + ":" + table[name].astype(str) for name in ("domain", "group")})


def _rows(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    paths = [os.path.abspath(root / image) for image in table["image"]]
    return table[list(COLUMNS)].assign(path=paths, name=table["image"])


def _by_folders(file: Path) -> tuple[str, int | None, str | None]:
    """Domain, label and split that the folders' names tell: faces/test/real/x.png is a real test image of faces.

    So is real/faces/testA/x.png, as the original's layout has it.
    """
    whole = Path(os.path.abspath(file)).parent.parts[1:]
    typed = Path(os.path.normpath(file)).parent.parts  # what lies above the working folder says nothing
    labels = {CLASS_OF[name.casefold()] for name in typed if name.casefold() in CLASS_OF}
    if len(labels) != 1:
        return text_of(whole[-1] if whole else "images"), None, None
    at = max(k for k, name in enumerate(whole) if name.casefold() in CLASS_OF)
    domain, part = (*whole[at + 1 :], "", "")[:2]
    if domain.casefold() not in SPLIT_NAMES and (split := split_of(part)):
        return text_of(domain), labels.pop(), split
    above = (name for name in reversed(whole[:at]) if name.casefold() not in SPLIT_NAMES)
    splits = {SPLIT_NAMES[name.casefold()] for name in typed if name.casefold() in SPLIT_NAMES}
    return text_of(next(above, "images")), labels.pop(), splits.pop() if len(splits) == 1 else None
