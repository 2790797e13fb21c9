"""A Ray cluster as this house uses it: workers that may be lost, calls that are not."""

from __future__ import annotations

import logging
import os
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from litotes.extras import need

Running = dict[Any, tuple[int, int, Any, "Call"]]  # reference of a result -> number, worker, its process, call
_START = 600  # seconds for the first worker to come up
_IN_HAND = 2  # calls a worker has at once: one that runs, one that waits
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
}


@dataclass(frozen=True)
class Call:
    """One piece of work for any worker: a method of its part, and arguments that can be sent.

    A call may run twice, where a worker is lost after it: it must be a function of its arguments alone.
    `near`: number of the worker that would do it best (it has the shard open); another does it as well.
    """

    method: str
    arguments: tuple[Any, ...]
    near: int | None = None


class Cluster:
    """A Ray cluster for the length of a `with` block: one that is there, or one that is started on this machine.

    What was started is shut down at the end. No dashboard, no usage statistics, no logs of workers on the terminal.
    Ray's ports listen on all interfaces and ask nobody for a password: use a network you trust.

    Args:
        address: "auto" = the cluster that the variable RAY_ADDRESS names, else one started here; "local" = one started
            here; or the address of a cluster ("10.0.0.1:6379"). A process that is connected already stays connected.
        workers: how many, >= 1. None = as many as the cluster has processors for.
        threads: processors and threads of each worker, >= 1. None = on a cluster started here its processors divided by
            `workers` (one worker: all); on another, as many as torch uses in this process.
    Raises:
        ValueError: an argument is out of range, or (on entering) the cluster has too few processors.
        ImportError: the extra `distributed` is not installed.
        ConnectionError: no cluster answers at the address.
    """

    def __init__(self, address: str = "auto", workers: int | None = None, threads: int | None = None):
        if not (isinstance(address, str) and address.strip()):
            raise ValueError(f"Cluster: address must be 'auto', 'local' or host:port, got {address!r}")
        if address.startswith("ray://"):
            raise ValueError(
                f"Cluster: run on a machine of the cluster and give host:port, not a client, got {address!r}"
            )
        for name, count in (("workers", workers), ("threads", threads)):
            if count is not None and not (isinstance(count, int) and count >= 1):
                raise ValueError(f"Cluster: {name} must be a whole number >= 1 or None, got {count!r}")
        self.address, self._workers, self._threads = address, workers, threads
        self._started = False
        self._pool: _Pool | None = None
        self.workers, self.threads = 0, 0  # known once entered

    def __enter__(self) -> Cluster:
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with _environment(_QUIET):
            ray = need("ray", extra="distributed", why="--ray")
            address = os.environ.get("RAY_ADDRESS", "local") if self.address == "auto" else self.address
            if ray.is_initialized():
                address = ""
            elif address == "local":
                self._started = True
                wanted = (self._workers or 1) * (self._threads or 1)
                ray.init(address="local", num_cpus=max(processors, wanted), **_settings())
            else:
                ray.init(address=address, **_settings())
                self._started = True
        if address == "local":
            self.threads = self._threads or max(1, processors // (self._workers or 1))
            self.workers = self._workers or max(1, processors // self.threads)
            return self
        import torch

        there = int(ray.cluster_resources().get("CPU", 0))
        self.threads = self._threads or torch.get_num_threads()
        self.workers = self._workers or there // self.threads
        if not 1 <= self.workers * self.threads <= there:
            self.__exit__()
            asked = f"{self.workers or 1} workers of {self.threads} threads"
            raise ValueError(f"Cluster: {asked} need more than the {there} processors that the cluster has")
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.close()
            self._pool = None
        if self._started:
            import ray

            ray.shutdown()
            self._started = False

    def crew(self, make: Callable[[], Any], patience: int = 4) -> Crew:
        """The workers of this cluster, each with a part of its own made by `make` on its first call.

        All crews of a cluster are the same processes, which are started for the first of them. See `Crew`.
        """
        if self._pool is None:
            self._pool = _Pool(self.workers, self.threads)
        return Crew(make, self._pool, patience)


class Crew:
    """Workers, each a process with a part of its own, and calls that outlive any of them. Made by `Cluster.crew`.

    A worker that dies (killed, out of memory, machine gone) is replaced, and its unfinished calls go to whoever is
    free; while no replacement can be started, the others go on without it.

    Args:
        make: gives a worker its part; sent to it, so an importable function or class, or a partial of one.
        pool: the processes.
        patience: a call after which so many workers died is taken for the cause, and ends the run; >= 1.
    """

    def __init__(self, make: Callable[[], Any], pool: _Pool, patience: int = 4):
        import ray

        self._pool, self._patience = pool, patience
        self._key = uuid.uuid4().hex
        self._make = [ray.put(make)]  # a reference inside a list is sent as it is; a bare one as what it stands for
        self.lost = 0  # workers, during calls of this crew

    @property
    def alive(self) -> int:
        """How many workers are up."""
        return len(self._pool.actors) - len(self._pool.starting)

    @property
    def workers(self) -> int:
        """How many there are, those that are starting included."""
        return len(self._pool.actors)

    def processes(self) -> list[int]:
        """Process ids of the workers, on their machines."""
        import ray

        return ray.get([actor.process.remote() for actor in self._pool.actors])

    def map(
        self, calls: Iterable[Call], ahead: int | None = None, tick: Callable[[int], object] = lambda number: None
    ) -> Iterator[Any]:
        """What the calls give, in their order. Raises what a call raises. `tick` hears the number of each that ends.

        Back-pressure: at most `ahead` calls are begun and not yet taken (None = twice as many as workers can have in
        hand, so 4 a worker); arguments are made when there is room, and a consumer that is slow stops the crew.

        Raises:
            ChildProcessError: a call ended `patience` workers, or no worker could be started within ten minutes.
        """
        import ray

        ahead = 2 * _IN_HAND * self.workers if ahead is None else ahead
        coming = enumerate(calls)
        waiting: deque[tuple[int, Call]] = deque()
        running: Running = {}
        results: dict[int, Any] = {}
        deaths: Counter[int] = Counter()
        begun = taken = 0
        more = True
        try:
            while True:
                while more and begun - taken < ahead:
                    following = next(coming, None)
                    more = following is not None
                    if following is not None:
                        waiting.append(following)
                        begun += 1
                self._hand_out(waiting, running)
                if taken in results:
                    yield results.pop(taken)
                    taken += 1
                    continue
                if not running and not waiting:
                    return
                ended = self._pool.wait(list(running))
                if ended is None:
                    continue
                number, worker, actor, call = running.pop(ended)
                done, value = _outcome(ended)
                if done:
                    results[number] = value
                    tick(number)
                    continue
                self.lost += 1
                deaths[number] += 1
                self._pool.replace(worker, actor, _line(value))
                if deaths[number] >= self._patience:
                    what = f"call {number} of {call.method!r} ended {deaths[number]} workers"
                    raise ChildProcessError(f"{what}, too much memory perhaps; the last: {_line(value)}")
                # what else it had in hand waits again, in order
                orphans = [other for other, (_, _, of, _) in running.items() if of is actor]
                for other in reversed(orphans):
                    orphan, _, _, lost = running.pop(other)
                    waiting.appendleft((orphan, lost))
                waiting.appendleft((number, call))
        finally:
            for reference in running if ray.is_initialized() else ():
                ray.cancel(reference)

    def close(self) -> None:
        """Let the workers forget their parts."""
        for actor in self._pool.actors:
            actor.forget.remote(self._key)

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _hand_out(self, waiting: deque[tuple[int, Call]], running: Running) -> None:
        """Give waiting calls to workers with room: each to its near one, and to an idle one before it waits longer."""
        load = Counter(worker for _, worker, _, _ in running.values())
        up = [worker for worker in range(self.workers) if worker not in self._pool.starting]
        for _ in range(len(waiting) if up else 0):
            number, call = waiting.popleft()
            freest = min(up, key=lambda worker: load[worker])
            worker = freest if call.near is None else call.near % self.workers
            if worker not in up or (load[worker] >= _IN_HAND and load[freest] == 0):
                worker = freest
            if load[worker] >= _IN_HAND:
                waiting.append((number, call))
                continue
            actor = self._pool.actors[worker]
            reference = actor.call.remote(self._key, self._make, call.method, *call.arguments)
            running[reference] = number, worker, actor, call
            load[worker] += 1


class _Pool:
    """The processes of a cluster's workers."""

    def __init__(self, workers: int, threads: int):
        import ray

        self._threads = threads
        # restarts and retries are ours: a lost call then goes to whoever is free, not to the worker that comes back
        self._kind = ray.remote(num_cpus=threads, max_restarts=0, max_task_retries=0)(_Worker)
        self.actors: list[Any] = [None] * workers
        self.starting: dict[int, Any] = {}  # worker -> a reference that is there once it is up
        for worker in range(workers):
            self._start(worker)

    def wait(self, running: list[Any]) -> Any | None:
        """The first of these references that is there; None where a worker came up first.

        Raises:
            ChildProcessError: nothing runs, and no worker came up in ten minutes.
        """
        import ray

        coming = {reference: worker for worker, reference in self.starting.items()}
        limit = None if running else _START
        there, _ = ray.wait([*running, *coming], num_returns=1, timeout=limit)
        if not there:
            raise ChildProcessError(
                f"no worker could be started within {_START} seconds; has the cluster room for one?"
            )
        if there[0] not in coming:
            return there[0]
        worker = coming[there[0]]
        del self.starting[worker]
        done, value = _outcome(there[0])
        if not done:
            self.replace(worker, self.actors[worker], _line(value))
        return None

    def replace(self, worker: int, actor: Any, why: str) -> None:
        """A new process in place of a lost one, unless somebody replaced it already."""
        import ray

        if self.actors[worker] is not actor:
            return
        ray.kill(actor)  # where it is only out of reach, it must not come back
        self._start(worker)
        logging.getLogger("litotes").warning("worker %d was lost and is replaced (%s)", worker + 1, why)

    def close(self) -> None:
        import ray

        for actor in self.actors:
            ray.kill(actor)

    def _start(self, worker: int) -> None:
        self.actors[worker] = self._kind.remote(self._threads)
        self.starting[worker] = self.actors[worker].process.remote()


class _Worker:
    """The process of one worker: what it was given to work with, by crew."""

    def __init__(self, threads: int):
        os.environ["LITOTES_QUIET"] = "1"
        os.environ["OMP_NUM_THREADS"] = str(threads)
        self._threads = threads
        self._parts: dict[str, Any] = {}

    def process(self) -> int:
        return os.getpid()

    def call(self, crew: str, make: list[Any], method: str, *arguments: Any) -> Any:
        if crew not in self._parts:
            import ray
            import torch

            torch.set_num_threads(self._threads)
            self._parts[crew] = ray.get(make[0])()
        return getattr(self._parts[crew], method)(*arguments)

    def forget(self, crew: str) -> None:
        self._parts.pop(crew, None)


def _outcome(reference: Any) -> tuple[bool, Any]:
    """(True, value), or (False, why its worker is gone). Raises what the call itself raised."""
    import ray
    from ray import exceptions as faults

    lost = (
        faults.RayActorError,
        faults.ObjectLostError,
        faults.WorkerCrashedError,
        faults.NodeDiedError,
        faults.OutOfMemoryError,
    )
    try:
        return True, ray.get(reference)
    except faults.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except lost as error:
        return False, error


def _line(value: object) -> str:
    return " ".join(str(value).split())[:160]


def _settings() -> dict[str, Any]:
    return {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.CRITICAL}


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that Ray reads where it starts; those that are set already stay."""
    new = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
