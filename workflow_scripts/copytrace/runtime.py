"""What every script shares: command line, seeds, threads, whole-or-nothing outputs, errors, and its log.

Light on purpose: table scripts import it too, so it loads neither torch nor OpenCV.
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from copytrace.errors import InputError, NoRoom, ProcessLost

Item = TypeVar("Item")
Result = TypeVar("Result")

log = logging.getLogger("copytrace")


class Arguments(argparse.ArgumentParser):
    """The command line of a script that tells the files it reads from those it writes; its log and --help do, too."""

    def __init__(self, description: str | None):
        super().__init__(description=description)
        self._inputs = self.add_argument_group("inputs")
        self._outputs = self.add_argument_group("outputs")
        self._files: dict[str, str] = {}  # input or output, by the name in the namespace

    def add_input(self, flag: str, **options: Any) -> None:
        """Add a flag that names one or more files or folders to read."""
        self._files[self._inputs.add_argument(flag, **options).dest] = "input"

    def add_output(self, flag: str, **options: Any) -> None:
        """Add a flag that names a file or folder to write."""
        self._files[self._outputs.add_argument(flag, **options).dest] = "output"

    def parse(self) -> argparse.Namespace:
        """Read the command line and begin the log with it: the files, then the short ones of the settings."""
        args = self.parse_args()
        log.info("%s", Path(self.prog).name)
        for name, kind in self._files.items():
            log_files(kind, name, getattr(args, name))
        settings = {name: value for name, value in vars(args).items() if name not in self._files}
        short = [f"{k}={v}" for k, v in settings.items() if not isinstance(v, dict) and len(str(v)) <= 80]
        if short:
            log.info("settings: %s", ", ".join(short))
        return args


def log_files(kind: str, name: str, files: str | Path | Sequence[str | Path] | None) -> None:
    """A line of the log for files of one kind, input or output: all of up to six, of more the first and the last."""
    if isinstance(files, (str, Path)):
        files = [files]
    if not files:
        return
    label = kind if name == kind else f"{kind}, {name}"
    if len(files) > 6:
        log.info("%s: %s … %s (%d files)", label, _printable(files[0]), _printable(files[-1]), len(files))
    else:
        log.info("%s: %s", label, " ".join(map(_printable, files)))


def _printable(path: str | Path) -> str:
    """A path on one line whatever its name: line breaks, a terminal's commands and bytes that are no text escaped."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in str(path))


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


def set_threads(threads: int) -> None:
    """Hold torch, OpenCV, FAISS and Arrow, where they are loaded, and processes started from here to `threads` threads.

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
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].set_cpu_count(threads)


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
    """Counts work, says on the way how much is left, and at the end how fast it went, on how many threads.

    `pictures_each`: how many pictures one unit of the work takes, where it is not pictures that are counted.

    >>> with Throughput("pictures", threads=1) as done:
    ...     done.add(8)
    """

    def __init__(self, unit: str, threads: int, total: int | None = None, pictures_each: float | None = None):
        self.unit, self.threads, self.total, self.pictures_each = unit, threads, total, pictures_each
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
            left = ""
            if self.total:
                seconds = (self.total - self.count) * (now - self.started) / self.count
                left = f" of {self.total:,}, {timedelta(seconds=round(seconds))} left"
            log.info("%s %s%s: %s", f"{self.count:,}", self.unit, left, self._rate(now))

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            now = time.monotonic()
            seconds = now - self.started
            log.info(
                "%s %s in %.2f s: %s, %d thread(s)",
                f"{self.count:,}",
                self.unit,
                seconds,
                self._rate(now),
                self.threads,
            )

    def _rate(self, now: float) -> str:
        rate = self.count / max(now - self.started, 1e-9)
        pictures = "" if self.pictures_each is None else f", {rate * self.pictures_each:,.1f} pictures/s"
        return f"{rate:,.1f} {self.unit}/s{pictures}"


_together = 0  # the most that this process and those it started were seen to hold at once, in kB


def peak_memory_mb() -> float:
    """The most memory so far of this process and those that it started, in MB (Linux).

    Of one process it is the exact peak: of this one VmHWM, because Linux counts the peak of the process that started
    it into its `ru_maxrss`. What several hold together is looked up once a second (see `run`).
    """
    return max(_status("VmHWM"), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, _together) / 1000


def _watch_memory() -> None:
    """While other processes work for this one, note once a second what all hold; shared pages count once (PSS)."""
    global _together
    while True:
        time.sleep(1)
        with suppress(OSError):  # one has ended meanwhile
            if others := list(_descendants(os.getpid())):
                _together = max(_together, sum(map(_proportional_size, [os.getpid(), *others])))


def _descendants(process: int) -> Iterator[int]:
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            yield child
            yield from _descendants(child)


def _proportional_size(process: int) -> int:
    """A process's memory in kB, each shared page divided by the number of processes that share it."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


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
    """Run a job's script: log on standard error, closed by the time it took and its peak memory.

    A user's mistake, a full disk, a broken table or another process's end is one sentence, the last line; the exit
    status is then 2.
    """
    lines = logging.StreamHandler()  # of our own log alone: libraries have theirs
    lines.setFormatter(logging.Formatter("%(asctime)s %(message)s", datefmt="%H:%M:%S"))
    log.addHandler(lines)
    log.setLevel(logging.INFO)
    threading.Thread(target=_watch_memory, daemon=True).start()
    started = time.monotonic()

    def close(outcome: str) -> None:
        log.info("%s %.1f s, peak memory %.0f MB", outcome, time.monotonic() - started, peak_memory_mb())

    try:
        main()
    except Exception as error:
        close("failed after")
        sentence = _sentence(error)
        if sentence is None:
            raise
        print(f"error: {sentence}", file=sys.stderr)
        sys.exit(2)
    close("done in")


def _sentence(error: Exception) -> str | None:
    """What a user is told of a mistake, a full disk, a process or a table cut off; None for any other error."""
    if isinstance(error, InputError | NoRoom | ProcessLost):
        return str(error)
    cut_off = re.match(r"Could not open Parquet input source '(.+)': (.+)", str(error))  # pyarrow's ArrowInvalid
    return cut_off and f"{cut_off[1]} can't be read ({cut_off[2]}): delete it and run the same command again"
