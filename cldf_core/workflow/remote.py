"""Somebody's Dask cluster: whether it may be trusted, which workers fit, and the way there and back without a disk."""

import contextlib
import functools
import ipaddress
import json
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cloudpickle

import cldf_core
from cldf_core.data.console import note
from cldf_core.data.files import mark
from cldf_core.data.runtime import project_root
from cldf_core.options import UserError
from cldf_core.workflow import parcels, worker
from cldf_core.workflow.cluster import Cluster, Place
from cldf_core.workflow.job import Job

if TYPE_CHECKING:
    from distributed import Client, Future, Security

PACKAGES = ("python", "torch", "torchvision", "numpy", "pillow", "papermill", "dask", "distributed")
OF_SCHEDULER = ("python", "dask", "distributed")
TIMEOUT = 10  # seconds for a scheduler to answer


class Remote(Cluster):
    """The workers of a scheduler elsewhere; each task runs in a fresh process there."""

    def __init__(self, client: "Client", place: Place, home: Mapping[str, Any], folder: Path) -> None:
        super().__init__(client)
        self._place, self._home, self._folder = place, home, folder
        self._known: set[str] = set()  # the workers whose versions were compared
        self._parcels: dict[str, parcels.Parcel] = {}  # by their hashes
        self._is_sent = False  # what they need; where they see the project, nothing is
        self._data_set = functools.cache(
            lambda data: self._kept(parcels.packed(parcels.data_set(data), "root", folder))
        )

    @property
    def size(self) -> int:
        """How many tasks can be carried out at once; workers that have joined are looked at first."""
        with self._connected():
            threads = self.client.nthreads()
            if not threads.keys() <= self._known:
                compare_versions(self.client)
                self._known |= threads.keys()
        return sum(threads.values())

    def submit(self, name: str, job: Job, *, gpu: bool) -> "Future":
        """Hands a task over, with the hashes of what it needs if there are workers that do not see the project."""
        home = {**self._home, "parts": [], "known": []}
        if self._is_sent:
            inputs = parcels.inputs_of(job)
            home["known"] = sorted({path.split("/")[1] for path in inputs if path.startswith("runs/")})
            needed = [self._sources, *map(self._data_set, filter(None, [parcels.data_of(job)]))]
            needed += [self._kept(parcels.packed(inputs, "root", self._folder))] if inputs else []
            home["parts"] = [{"digest": p.digest, "into": p.into, "url": self._url(p)} for p in needed]
        return self._submitted(ByValue(worker.carry_out), name, dict(job), self.topic, home, gpu=gpu)

    def result(self, future: "Future") -> dict[str, Any] | None:
        """As that of `Cluster`; runs that were made elsewhere are brought home, and what a worker lacks is sent."""
        try:
            result = super().result(future)
        except CancelledError:
            raise UserError(self._lost()) from None
        except Exception as error:
            with self._connected():
                compare_versions(self.client)  # which may be the reason
            return {"error": f"{type(error).__name__}: {error}"}
        if result and "lacking" in result:
            self._is_sent = True
            for digest in result["lacking"]:
                parcel = self._parcels[digest]
                with contextlib.suppress(OSError, KeyError, ValueError):  # that worker is gone
                    content = parcel.path.read_bytes()
                    words = result["own"], digest, parcel.into, content
                    self.client.run(ByValue(worker.install), *words, workers=[result["worker"]])
            return {"again": True}
        if result and (content := self._runs(result)):
            parcels.unpacked(content, replace=result["folder"])
        return result

    @functools.cached_property
    def _sources(self) -> parcels.Parcel:
        return self._kept(parcels.packed(parcels.sources(), "source", self._folder))

    def _kept(self, parcel: parcels.Parcel) -> parcels.Parcel:
        self._parcels[parcel.digest] = parcel
        return parcel

    def _url(self, parcel: parcels.Parcel) -> str:
        """Where a worker finds a parcel that is too large to be sent; "" for the others."""
        size = parcel.path.stat().st_size
        if size <= parcels.MOST or parcel.into == "source":
            return ""
        if not self._place.store:
            raise UserError(
                f"workers that do not see the project's folder need {size / 1e6:,.0f} MB of data, and more than "
                f"{parcels.MOST / 1e6:.0f} MB are not sent; needed: --store with an address that they reach, too"
            )
        return stored(parcel, self._place.store)

    def _runs(self, result: dict[str, Any]) -> bytes:
        if url := result.pop("url", ""):
            import fsspec

            content = worker.fetched(url)
            files, path = fsspec.url_to_fs(url)
            files.rm(path)
            return content
        return result.pop("runs", b"")

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            raise UserError(self._lost()) from None
        if self.client.status != "running":
            raise UserError(self._lost())

    def _lost(self) -> str:
        return (
            f"the scheduler at {self._place.scheduler} was lost; start it and its workers, and the same command goes on"
        )


class ByValue:
    """A function of `worker`, which is sent with its code; Dask itself would send no more than its name."""

    def __init__(self, function: Callable[..., Any]) -> None:
        cloudpickle.register_pickle_by_value(worker)
        try:
            self._code = cloudpickle.dumps(function)
        finally:
            cloudpickle.unregister_pickle_by_value(worker)

    def __reduce__(self) -> tuple[Any, ...]:
        return cloudpickle.loads, (self._code,)

    def __call__(self) -> None:
        """Dask sends nothing that cannot be called."""


@contextlib.contextmanager
def connected(place: Place, folder: str, *, gpu: bool) -> Iterator[Remote]:
    """Yields the cluster of a scheduler, once it has workers; parcels are kept in a temporary folder.

    Raises:
        UserError: the scheduler is not to be trusted or does not answer, or its workers do not fit.
    """
    from distributed import Client

    address = address_of(place)
    runs = project_root() / "runs"
    with contextlib.ExitStack() as stack:
        try:
            client = stack.enter_context(
                Client(address, security=_security(address), timeout=TIMEOUT, set_as_default=False)
            )
        except OSError as error:
            why = str(error).splitlines()[0]
            raise UserError(f"no scheduler answers at {address} ({why}); start it, or name another one") from None
        _await_workers(client, address)
        compare_versions(client)
        if gpu and not any(w["resources"].get("GPU") for w in client.scheduler_info()["workers"].values()):
            raise UserError(
                f"device is 'cuda', but no worker of {address} has a GPU; start them with --resources GPU=1"
            )
        path, word = stack.enter_context(mark(runs))
        home: dict[str, Any] = {"project": str(Path(cldf_core.__file__).parents[1]), "root": str(project_root())}
        home |= {"mark": str(path), "word": word, "store": place.store, "most": parcels.MOST}
        yield Remote(client, place, home, Path(folder))


def address_of(place: Place) -> str:
    """The address of a place's scheduler, if it may be trusted; a UserError says why not.

    Whoever reaches a scheduler can run code as the user who started it, so one that other machines reach needs TLS,
    or the word that everybody who reaches it may.
    """
    text = str(place.scheduler)
    path = Path(text).expanduser()
    if path.suffix == ".json":
        try:
            text = str(json.loads(path.read_text(encoding="utf-8"))["address"])
        except OSError as error:
            raise UserError(
                f"--scheduler {path}: {error.strerror}; needed: what dask scheduler --scheduler-file wrote"
            ) from None
        except (ValueError, KeyError, TypeError):
            raise UserError(
                f"--scheduler {path} is no scheduler file; needed: what dask scheduler --scheduler-file wrote"
            ) from None
    parts = urlsplit(text if "://" in text else f"tcp://{text}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in ("tcp", "tls") or not parts.hostname or not port:
        raise UserError(
            f"--scheduler is {text!r}; allowed: tcp://host:8786, tls://host:8786, or a scheduler file (.json)"
        )
    if place.tls and parts.scheme != "tls":
        raise UserError(
            f"the scheduler at {parts.geturl()} does not encrypt; needed for --tls: an address that begins with tls://"
        )
    if parts.scheme == "tcp" and not place.insecure and not _is_here(parts.hostname):
        raise UserError(
            f"the scheduler at {parts.geturl()} does not ask who is there, and whoever reaches it can run code as you; "
            "allowed: tls:// with --tls, this machine's 127.0.0.1, or --insecure in a network of your own"
        )
    return parts.geturl()


def compare_versions(client: "Client") -> None:
    """Refuses a scheduler or workers with other versions than those here, with a UserError that names both."""
    found: Any = client.get_versions(packages=[name for name in PACKAGES if name != "python"])
    here = found["client"]["packages"]
    others: list[tuple[str, tuple[str, ...], Any]] = [("the scheduler", OF_SCHEDULER, found["scheduler"])]
    others += [(f"the worker {address}", PACKAGES, versions) for address, versions in found["workers"].items()]
    for who, names, versions in others:
        for name in names:
            there = versions["packages"].get(name)
            if there != here[name]:
                shown = [
                    str(version).removesuffix(".final.0") if version else "none" for version in (there, here[name])
                ]
                raise UserError(f"{who} has {name} {shown[0]}, and here it is {shown[1]}; needed: the same version")


def stored(parcel: parcels.Parcel, store: str) -> str:
    """The address of a parcel in a store, where it is put unless it is there."""
    import fsspec

    url = f"{store.rstrip('/')}/cldf-{parcel.digest}.zip"
    try:
        files, path = fsspec.url_to_fs(url)
        if not files.exists(path):
            files.makedirs(path.rpartition("/")[0], exist_ok=True)
            files.put(str(parcel.path), f"{path}.part")
            files.mv(f"{path}.part", path)
    except Exception as error:  # each of its file systems has errors of its own
        raise UserError(f"--store {store}: {type(error).__name__}: {error}") from None
    return url


def _await_workers(client: "Client", address: str) -> None:
    told = False
    while not client.nthreads():
        if not told:
            note(f"the scheduler at {address} has no workers yet; this waits for them")
        told = True
        time.sleep(0.5)


def _security(address: str) -> "Security | None":
    from distributed import Security

    if not address.startswith("tls://"):
        return None
    security: Any = Security(require_encryption=True)
    if not (security.tls_ca_file and security.tls_client_cert):
        needed = "distributed.comm.tls in its configuration, as docs/tls.sh writes it"
        raise UserError(f"{address} needs certificates, and Dask knows none here; needed: {needed}")
    return security


def _is_here(host: str) -> bool:
    """Whether a name stands for this machine alone."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        raise UserError(f"--scheduler: there is no host {host!r}") from None
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)
