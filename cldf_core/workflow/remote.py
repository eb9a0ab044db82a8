"""Somebody's Dask cluster: whether it may be trusted, which workers fit, and the way there and back without a disk."""

import contextlib
import functools
import ipaddress
import json
import socket
import time
import uuid
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
        self._is_told = False  # that there are none
        self._data_sets: dict[str, parcels.Parcel] = {}

    @property
    def size(self) -> int:
        """How many tasks can be carried out at once; workers that have joined are looked at first."""
        with _connected(self.client, self._place):
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
            needed = [self._sources]
            for data in parcels.data_of(job):
                if data not in self._data_sets:
                    self._data_sets[data] = self._parcel(parcels.data_set(data), "root")
                needed.append(self._data_sets[data])
            needed += [self._parcel(inputs, "root")] if inputs else []
            home["parts"] = [{"digest": p.digest, "into": p.into, "url": self._url(p)} for p in needed]
        return self._submitted(ByValue(worker.carry_out), name, dict(job), self.topic, home, gpu=gpu)

    def result(self, future: "Future") -> dict[str, Any] | None:
        """As that of `Cluster`; runs that were made elsewhere are brought home, and what a worker lacks is sent."""
        try:
            result = super().result(future)
            if result and "lacking" in result:
                return self._sent(result)
            if result and (content := self._runs(result)):
                parcels.unpacked(content, replace=result["folder"])
            return result
        except CancelledError:
            raise UserError(_lost(self._place)) from None
        except UserError:
            raise
        except Exception as error:
            with _connected(self.client, self._place):
                compare_versions(self.client)  # which may be the reason
            return {"error": f"{type(error).__name__}: {error}"}

    def deserted(self) -> None:
        """Says that there are no workers, and that this waits for them."""
        if not self._is_told:
            note(f"the scheduler at {self._place.scheduler} has no workers; this waits for them")
        self._is_told = True

    def _sent(self, result: dict[str, Any]) -> dict[str, Any]:
        """Sends a worker what it lacks, after which its task is to be handed over again."""
        self._is_sent = True
        for digest in result["lacking"]:
            parcel = self._parcels[digest]
            words = result["own"], digest, parcel.into, parcel.path.read_bytes()
            try:
                self.client.run(ByValue(worker.install), *words, workers=[result["worker"]])
            except Exception as error:
                if result["worker"] in self.client.nthreads():
                    why = f"{type(error).__name__}: {error}"
                    return {"error": f"the worker {result['worker']} could not keep what the task needs ({why})"}
        return {"again": True}

    @functools.cached_property
    def _sources(self) -> parcels.Parcel:
        return self._parcel(parcels.sources(), "source")

    def _parcel(self, files: parcels.Files, into: str) -> parcels.Parcel:
        parcel = parcels.packed(files, into, self._folder)
        return self._parcels.setdefault(parcel.digest, parcel)

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
        security = _security(address)
        try:
            _await_greeting(address, security)
            client = stack.enter_context(Client(address, security=security, timeout=TIMEOUT, set_as_default=False))
        except OSError as error:
            why = (str(error).splitlines() or [type(error).__name__])[0]
            raise UserError(f"no scheduler answers at {address} ({why}); start it, or name another one") from None
        path, word = stack.enter_context(mark(runs))
        home: dict[str, Any] = {"project": str(Path(cldf_core.__file__).parents[1]), "root": str(project_root())}
        home |= {"mark": str(path), "word": word, "store": place.store, "most": parcels.MOST}
        cluster = Remote(client, place, home, Path(folder))
        while not cluster.size:  # compares versions
            cluster.deserted()
            time.sleep(0.5)
        if gpu and not cluster.gpus:
            raise UserError(
                f"device is 'cuda', but no worker of {address} has a GPU; start them with --resources GPU=1"
            )
        yield cluster


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
        except (OSError, ValueError, KeyError, TypeError) as error:
            why = getattr(error, "strerror", None) or "it is no scheduler file"
            raise UserError(f"--scheduler {path}: {why}; needed: what dask scheduler --scheduler-file wrote") from None
    try:
        parts = urlsplit(text if "://" in text else f"tcp://{text}")
        is_one = parts.scheme in ("tcp", "tls") and parts.hostname and parts.port
    except ValueError:
        is_one = False
    if not is_one:
        raise UserError(f"--scheduler is {text!r}; allowed: tcp://host:8786, tls://host:8786, or a scheduler file")
    if place.tls and parts.scheme != "tls":
        raise UserError(f"the scheduler at {parts.geturl()} does not encrypt; --tls needs an address with tls://")
    if parts.scheme == "tcp" and not place.insecure and not _is_here(str(parts.hostname)):
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
            part = f"{path}.{uuid.uuid4().hex}"
            files.put(str(parcel.path), part)
            files.mv(part, path)
    except Exception as error:  # each of its file systems has errors of its own
        raise UserError(f"--store {store}: {type(error).__name__}: {error}") from None
    return url


@contextlib.contextmanager
def _connected(client: "Client", place: Place) -> Iterator[None]:
    try:
        yield
    except OSError:
        raise UserError(_lost(place)) from None
    if client.status != "running":
        raise UserError(_lost(place))


def _lost(place: Place) -> str:
    return f"the scheduler at {place.scheduler} was lost; start it and its workers, and the same command goes on"


def _security(address: str) -> "Security | None":
    from distributed import Security

    if not address.startswith("tls://"):
        if Security().require_encryption:
            allowed = "an address that begins with tls://, or a shell without DASK_CONFIG"
            raise UserError(f"{address} does not encrypt, as Dask's configuration here requires; allowed: {allowed}")
        return None
    security: Any = Security(require_encryption=True)
    if not (security.tls_ca_file and security.tls_client_cert):
        needed = "distributed.comm.tls in its configuration, as docs/tls.sh writes it"
        raise UserError(f"{address} needs certificates, and Dask knows none here; needed: {needed}")
    return security


def _await_greeting(address: str, security: "Security | None") -> None:
    """Raises an OSError where nothing greets, as a scheduler does; for something else Dask's client would wait long."""
    parts = urlsplit(address)
    with contextlib.ExitStack() as stack:
        place = str(parts.hostname), int(parts.port or 0)
        connection = stack.enter_context(socket.create_connection(place, TIMEOUT))
        if security:
            context = security.get_connection_args("client")["ssl_context"]
            connection = stack.enter_context(context.wrap_socket(connection, server_hostname=parts.hostname))
        if not connection.recv(1):
            raise ConnectionError("it closes the connection")


def _is_here(host: str) -> bool:
    """Whether a name stands for this machine alone."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        raise UserError(f"--scheduler: there is no host {host!r}") from None
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in found)
