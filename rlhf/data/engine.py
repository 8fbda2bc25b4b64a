"""Where partitions are worked on: in place, by processes of this machine, or by a Dask cluster.

Every engine is a concurrent.futures.Executor that calls pure functions on pieces of the data, and answers come
back in the order of the pieces: what comes of it does not depend on the engine or on how many work.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pickle
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from multiprocessing import connection, forkserver
from pathlib import Path
from types import TracebackType
from typing import Any

from rlhf.params import DataParams

Work = Callable[[Any, Any], Any]
_LOADED_FIRST = ["rlhf.data.near", "rlhf.data.set_lines"]  # and what these import
_LARGE = 1_000_000  # bytes: some thousand prompts


def warm_up(params: DataParams, files: Sequence[Path]) -> None:
    """Where the files are large, a million bytes together: processes import what they need while this one does.

    Asked before the modules of the data room are imported, it saves most of a second; nothing else depends on it.
    """
    size = sum(path.stat().st_size for path in files if path.is_file())
    if size > _LARGE and params.engine == "local" and _workers(params) > 1:
        _forkserver()


def _forkserver() -> Any:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_LOADED_FIRST)
    forkserver.ensure_running()
    return context


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Processes started meanwhile do not import the program that started them: they need nothing of it."""
    main = sys.modules["__main__"].__dict__
    kept: dict[str, Any] = {name: main[name] for name in ("__spec__", "__file__") if name in main}
    main["__spec__"] = None
    main.pop("__file__", None)
    try:
        yield
    finally:
        main.update(kept)


def _workers(params: DataParams) -> int:
    return params.workers or len(os.sched_getaffinity(0))


class Engine:
    """`map` calls function(shared, piece) for each piece. Use it as a context manager."""

    def __init__(self, params: DataParams, folder: Path) -> None:
        """folder: for what all pieces share, texts among it; whoever made the folder removes it, after a kill too."""
        self.params, self.folder = params, folder
        self._executor: Executor | None = None
        self._client: Any = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._client.close()
        elif self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def map(self, function: Work, shared: Any, pieces: Iterable[Any]) -> Iterator[Any]:
        """function(shared, piece) of every piece, in order; few pieces are in memory at a time.

        One piece, or one worker, is worked on in place: small data pays for no processes.
        """
        pieces = iter(pieces)
        first = list(islice(pieces, 2))
        alone = self.params.engine == "local" and (_workers(self.params) == 1 or len(first) < 2)
        if alone and self._executor is None:
            yield from (function(shared, piece) for piece in chain(first, pieces))
            return
        submit, limit = self._start()
        sent = self._send(shared)
        waiting: deque[Future[Any]] = deque()
        for piece in chain(first, pieces):
            waiting.append(submit(_work, function, sent, piece))
            if len(waiting) > limit:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _start(self) -> tuple[Callable[..., Future[Any]], int]:
        """The executor's submit, and how many pieces may wait."""
        if self.params.engine == "dask":
            if self._executor is None:
                self._client = _dask_client(self.params)
                self._executor = self._client.get_executor(pure=False)
            return self._executor.submit, 2 * max(1, sum(self._client.ncores().values()))
        if self._executor is None:
            workers = _workers(self.params)
            self._executor = ProcessPoolExecutor(workers, mp_context=_forkserver(), initializer=_begin)
        return self._submit, _workers(self.params) + 1

    def _submit(self, *work: Any) -> Future[Any]:
        """To a process of this machine, which may be started by this."""
        assert self._executor is not None
        with _main_hidden():
            return self._executor.submit(*work)

    def _send(self, shared: Any) -> Any:
        """What all pieces share, sent once: through a file to processes, scattered to a cluster."""
        if self._client is not None:
            return self._client.scatter(shared, broadcast=True, hash=False)
        handle, name = tempfile.mkstemp(dir=self.folder, prefix="shared-")
        with os.fdopen(handle, "wb") as file:
            pickle.dump(shared, file, protocol=pickle.HIGHEST_PROTOCOL)
        return _Sent(name)


def _begin() -> None:
    """A worker ends with its parent, which may be killed; and it seldom looks for cycles: that took a tenth of its time."""
    gc.set_threshold(200_000)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


class _Sent(str):
    """The path of a file that holds what all pieces share."""


def _work(function: Work, shared: Any, piece: Any) -> Any:
    return function(_load(shared) if isinstance(shared, _Sent) else shared, piece)


@lru_cache(maxsize=1)
def _load(path: _Sent) -> Any:
    return pickle.loads(Path(path).read_bytes())  # written a moment ago by the process that started this one


def _dask_client(params: DataParams) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "data.engine is dask, but the package distributed is not installed: pip install 'rlhf-pipeline[cluster]'"
        ) from None
    if params.scheduler is None:
        return Client(n_workers=_workers(params), threads_per_worker=1, dashboard_address=None)
    try:
        return Client(params.scheduler, timeout=20)
    except OSError:
        raise ValueError(f"data.scheduler: no Dask scheduler answers at {params.scheduler}") from None
