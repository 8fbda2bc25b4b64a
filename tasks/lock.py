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
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from tasks import tracking

CLAIM = "rlhf.claim"
NOTES = "round.lock.json"  # beside the lock: who holds it
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
        raise ValueError(f"a round is running already: {_said(_notes())}") from None
    try:
        me = {
            "id": uuid.uuid4().hex,
            "who": f"{how}, process {os.getpid()} on {socket.gethostname()}",
            "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}",
            "home": _named(),
        }
        _notes().write_text(json.dumps(me), encoding="utf-8")
        if not _is_shared():
            yield
            return
        with _claim(me):
            yield
    finally:
        lock.release()


@contextmanager
def nobody_at_work(how: str) -> Iterator[None]:
    """As one_round_at_a_time, and no round of another profile either: data/ and data.dvc are theirs too."""
    with one_round_at_a_time(how), ExitStack() as others:
        for path in {*Path(".rlhf").glob("round.lock"), *Path(".rlhf").glob("*/round.lock")}:
            if path.samefile(_here()):
                continue
            try:
                others.enter_context(FileLock(path.absolute()).acquire(timeout=0))
            except Timeout:
                said = _said(path.with_name(NOTES))
                raise ValueError(f"a round of another profile is running: {said}") from None
        yield


def holder() -> str | None:
    """Who runs a round on this state folder, or at its MLflow server, in words; None where nobody does."""
    here = _here()
    if here.exists():
        lock = FileLock(here)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return _said(_notes())
        lock.release()
    standing = _read() if _is_shared() else None
    return f"{standing['who']}, since {standing['since']}" if standing and _stands(standing) else None


@contextmanager
def _claim(me: dict[str, Any]) -> Iterator[None]:
    standing = _read()
    if standing and _stands(standing):
        raise ValueError(f"a round is running already: {standing['who']}, since {standing['since']}")
    _write(me)
    time.sleep(SETTLE)
    now = _read()
    if now is None or now["id"] != me["id"]:
        raise ValueError(f"a round is running already: {now['who'] if now else 'another machine'}")
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(BEAT):
            with suppress(Exception):  # MLflow is away for a moment: the stages retry, the claim too
                if not _is_ours(me):  # it was away for longer, and another machine went on
                    return
                _write(me)

    thread = threading.Thread(target=renew, name="round-claim", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=5)
        with suppress(Exception):  # one that is not taken back is stale soon
            if _is_ours(me):
                tracking.client().set_experiment_tag(tracking.experiment(), CLAIM, "")


def _stands(claim: dict[str, Any]) -> bool:
    """Whether a claim is a living one's. One of our own folder, whose lock is free, is not."""
    return time.time() - claim["beat"] < STALE and (claim.get("home") or "") != _where()


def _is_ours(me: dict[str, Any]) -> bool:
    standing = _read()
    return standing is not None and standing["id"] == me["id"]


def _is_shared() -> bool:
    return tracking.uri().startswith(("http://", "https://"))


def _read() -> dict[str, Any] | None:
    text = tracking.client().get_experiment(tracking.experiment()).tags.get(CLAIM)
    return json.loads(text) if text else None


def _write(me: dict[str, Any]) -> None:
    tracking.client().set_experiment_tag(
        tracking.experiment(), CLAIM, json.dumps({**me, "beat": time.time()})
    )


def _here() -> Path:
    return tracking.home() / "round.lock"


def _where() -> str | None:
    """This state folder and no other, nor a copy of it; None before its first round."""
    file = tracking.home() / "name"
    if not file.is_file():
        return None
    return f"{file.read_text(encoding='utf-8')} at {socket.gethostname()}:{tracking.home()}"


def _named() -> str | None:
    if _where() is None:
        (tracking.home() / "name").write_text(uuid.uuid4().hex, encoding="utf-8")
    return _where()


def _notes() -> Path:
    return tracking.home() / NOTES


def _said(notes: Path) -> str:
    """Who holds a lock, as its notes say."""
    try:
        me = json.loads(notes.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return "another process on this machine"
    return f"{me['who']}, since {me['since']}"
