"""What every script shares: seeds, threads, whole-or-nothing outputs, errors, and its closing line.

Light on purpose: table scripts import it too, so it loads neither torch nor OpenCV.
"""

from __future__ import annotations

import errno
import glob
import hashlib
import logging
import os
import re
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np

from copytrace.errors import InputError, NoRoom

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger("copytrace")


def derive_seed(*identity: object) -> int:
    """A 63-bit seed that depends on nothing but `identity` (numbers, strings, tuples of them).

    Every random draw of the project comes from here, keyed by the configuration's seed and by what
    is drawn, so that the number of shards, workers or jobs at once changes nothing.
    """
    digest = hashlib.sha256(repr(identity).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*identity: object) -> np.random.Generator:
    """NumPy's default generator, seeded by `derive_seed(*identity)`."""
    return np.random.default_rng(derive_seed(*identity))


def shard_bounds(rows: int, shard: int, shards: int) -> tuple[int, int]:
    """Rows [start, stop) of shard `shard` of `shards`: ⌊iN/n⌋ … ⌊(i+1)N/n⌋."""
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard} of {shards} does not exist")
    return shard * rows // shards, (shard + 1) * rows // shards


def set_threads(threads: int) -> None:
    """Hold torch, OpenCV and FAISS, where they are loaded, and processes started from here to `threads` threads.

    Jobs at once that run more threads than there are cores hold each other up. NumPy's own threads are
    set by the environment before it is loaded: Snakemake does that for every job.
    """
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(threads)
    if "cv2" in sys.modules:
        sys.modules["cv2"].setNumThreads(threads)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(threads)


def in_processes(work: Callable[[Item], Result], items: Iterable[Item], processes: int) -> Iterator[Result]:
    """`work` of every item, in order, in `processes` processes of one thread each (1: in this one).

    `work` is sent to each process once, so it may carry long lists; like items and results it must be picklable.
    An error in it is raised here. This process, too, is held to one thread, which the others inherit. However it
    ends, the others end with it.
    """
    set_threads(1)
    if processes == 1:
        yield from map(work, items)
        return
    context = get_context("spawn")  # forking a process whose libraries have threads can hang
    with ProcessPoolExecutor(processes, context, initializer=_take_up, initargs=(work,)) as pool:
        yield from pool.map(_do, items, chunksize=4)


_work: Callable[[Any], Any]  # of a process that `in_processes` started


def _take_up(work: Callable[[Any], Any]) -> None:
    global _work
    _work = work
    set_threads(1)  # of the libraries that came with it
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process as soon as the one that started it is gone: killed, it can't say that no more work comes."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(item: Any) -> Any:
    return _work(item)


@contextmanager
def atomic_output(path: str | Path) -> Iterator[Path]:
    """A temporary name beside `path` that becomes `path` when the block ends without an error.

    A reader never meets half a file, whatever kills the writer. What a killed writer of `path` left is removed
    first; one that is still at work then fails, and the later writer's file stands. NoRoom if the disk is full.
    """
    path = Path(path)
    with room_for(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in path.parent.glob(glob.escape(f".{path.name}.") + "????????" + glob.escape(path.suffix)):
            leftover.unlink(missing_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())  # a power cut after the renaming would leave an empty file
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def room_for(path: str | Path) -> Iterator[None]:
    """Turn an error of the block that comes from a full disk into NoRoom, which names `path`."""
    try:
        yield
    except NoRoom:  # names a file already
        raise
    except Exception as error:
        reason = _full(error)
        if reason is None:
            raise
        raise NoRoom(f"{path} can't be written ({reason}): make room and run the same command again") from error


def _full(error: BaseException | None) -> str | None:
    """The system's words if a full disk, a quota or a limit on sizes is behind an error; else None.

    safetensors has the system's number in its text only; torch raises an error of its own while the system's is
    handled.
    """
    while error is not None:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            if getattr(error, "errno", None) == number or f"(os error {number})" in str(error):
                return os.strerror(number)
        error = error.__context__
    return None


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@dataclass(frozen=True)
class Execution:
    """The section `execution` of the configuration: what changes the way of the work and not its result."""

    workers: int
    checkpoint_every: int
    keep_checkpoints: int


class Throughput:
    """Counts work and says at the end how fast it went, on how many threads, with how much memory.

    >>> with Throughput("pictures", threads=1) as done:
    ...     done.add(8)
    """

    def __init__(self, unit: str, threads: int, total: int | None = None):
        self.unit, self.threads, self.total = unit, threads, total
        self.count = 0

    def __enter__(self) -> Throughput:
        self.started = self.reported = time.monotonic()
        return self

    def add(self, count: int = 1) -> None:
        """Count `count` more; every ten seconds a line with the rate and the time left."""
        self.count += count
        now = time.monotonic()
        if now - self.reported >= 10:
            self.reported = now
            rate = self.count / (now - self.started)
            if self.total:
                left = (self.total - self.count) / rate
                log.info("%d of %d %s, %.1f/s, %.0f s left", self.count, self.total, self.unit, rate, left)
            else:
                log.info("%d %s, %.1f/s", self.count, self.unit, rate)

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            seconds = max(time.monotonic() - self.started, 1e-9)
            log.info(
                "%d %s in %.2f s: %.1f %s/s, %d thread(s), peak memory %.0f MB",
                self.count,
                self.unit,
                seconds,
                self.count / seconds,
                self.unit,
                self.threads,
                peak_memory_mb(),
            )


def peak_memory_mb() -> float:
    """The largest resident size so far of this process or of one that it started, in MB (Linux).

    Of this process VmHWM, because Linux counts the peak of the process that started it into its `ru_maxrss`.
    """
    return max(_status("VmHWM"), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1000


def limit_memory(more: int) -> None:
    """Let this process take `more` bytes beside what it holds (Linux); a larger request is a MemoryError.

    For code that trusts what hostile files say of themselves.
    """
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    limit = 1024 * _status("VmData") + more
    if most == resource.RLIM_INFINITY or limit < most:
        resource.setrlimit(resource.RLIMIT_DATA, (limit, most))


def _status(name: str) -> int:
    """A line of Linux's account of this process, in kB; 0 where there is no such line."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), 0)


def run(main: Callable[[], None]) -> None:
    """Run a script: log lines on standard error; a mistake, a full disk or a broken table as one sentence, status 2."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        main()
    except (InputError, NoRoom) as mistake:
        _stop(mistake)
    except ValueError as error:
        broken = re.match(r"Could not open Parquet input source '(.+)': (.+)", str(error))  # pyarrow's ArrowInvalid
        if broken is None:
            raise
        _stop(f"{broken[1]} can't be read ({broken[2]}): delete it and run the same command again")


def _stop(sentence: object) -> NoReturn:
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)
