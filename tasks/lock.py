"""One round at a time, however it was started: a lock on this state folder, and a claim in MLflow.

The lock is the operating system's: it falls when its owner dies, kill -9 included. Where MLflow is a
server that other machines use too, the round also claims the experiment there, renews the claim while
it runs, and a claim that was not renewed for STALE seconds counts as dropped.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks import tracking

CLAIM = "rlhf.claim"
BEAT = 15.0  # seconds between renewals
STALE = 90.0
SETTLE = 1.0  # two claims written at once: the later one stands, and both see it after this long


@contextmanager
def one_round_at_a_time(how: str) -> Iterator[None]:
    """Holds the lock for the block. how: what holds it, in words ("rlhf run").

    ValueError, one sentence that says who holds it, where another round is running.
    """
    here = _here()
    here.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(here)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ValueError(f"a round is running already: {_holder()}") from None
    try:
        me = {
            "id": uuid.uuid4().hex,
            "who": f"{how}, process {os.getpid()} on {socket.gethostname()}",
            "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
        }
        _notes().write_text(json.dumps(me), encoding="utf-8")
        if not tracking.uri().startswith(("http://", "https://")):
            yield
            return
        with _claim(me):
            yield
    finally:
        lock.release()


def holder() -> str | None:
    """Who runs a round on this state folder, in words; None where nobody does."""
    here = _here()
    if not here.exists():
        return None
    lock = FileLock(here)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _holder()
    lock.release()
    return None


@contextmanager
def _claim(me: dict[str, Any]) -> Iterator[None]:
    standing = _read()
    if standing and standing["id"] != me["id"] and time.time() - standing["beat"] < STALE:
        raise ValueError(f"a round is running already: {standing['who']}, since {standing['since']}")
    _write(me)
    time.sleep(SETTLE)
    now = _read()
    if now is None or now["id"] != me["id"]:
        raise ValueError(f"a round is running already: {now['who'] if now else 'another machine'}")
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT):
            try:
                _write(me)
            except Exception:  # MLflow is away for a moment: the stages retry, the claim too
                continue

    thread = threading.Thread(target=renew, name="round-claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)
        tracking.client().set_experiment_tag(tracking.experiment(), CLAIM, "")


def _read() -> dict[str, Any] | None:
    text = tracking.client().get_experiment(tracking.experiment()).tags.get(CLAIM)
    return json.loads(text) if text else None


def _write(me: dict[str, Any]) -> None:
    tracking.client().set_experiment_tag(
        tracking.experiment(), CLAIM, json.dumps({**me, "beat": time.time()})
    )


def _here() -> Path:
    return tracking.home() / "round.lock"


def _notes() -> Path:
    return tracking.home() / "round.lock.json"


def _holder() -> str:
    try:
        me = json.loads(_notes().read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return "another process on this machine"
    return f"{me['who']}, since {me['since']}"
