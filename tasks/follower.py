"""Carries a running job's figures to MLflow."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

from tasks import tracking
from tasks.tracking import Point


class Follower:
    """Carries the complete lines of a growing metrics.jsonl to a run, a batch at a time.

    A line is {"step": int, "time": unix seconds, <metric>: number ...}. How far it came is kept beside
    the file with the run's id, so that a restarted follower goes on from there; sending a line twice
    does no harm, MLflow keeps one. A store that does not answer is tried again at the next tick; what
    is still unsent when the job ends raises from `stop`.
    """

    def __init__(self, run_id: str, path: Path, every: float = 2.0) -> None:
        self.run_id, self.path, self.every = run_id, path, every
        self.mark = path.with_name(f"{path.name}.sent")
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name=f"metrics-{run_id[:8]}", daemon=True)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        """Ends the thread and sends what is left; errors of the store rise."""
        if not self.ended.is_set():
            self.ended.set()
            self.thread.join()
            self.send()

    def _watch(self) -> None:
        while not self.ended.wait(self.every):
            try:
                self.send()
            except Exception as error:  # tried again at the next tick, and at last by stop
                logging.getLogger(__name__).warning("metrics wait: MLflow answered %s", type(error).__name__)

    def send(self) -> int:
        """Sends the complete lines not sent yet; returns their number."""
        if not self.path.exists():
            return 0
        offset = self._sent()
        if offset > self.path.stat().st_size:  # the file was begun anew
            offset = 0
        with self.path.open("rb") as file:
            file.seek(offset)
            block = file.read()
        block = block[: block.rfind(b"\n") + 1]
        lines, done = 0, offset
        batch: list[Point] = []
        for raw in block.splitlines(keepends=True):
            row = _line(raw)
            stamp = int(float(row.pop("time", time.time())) * 1000)
            step = int(row.pop("step", 0))
            points = [Point(name, value, stamp, step) for name, value in tracking.numbers(row)]
            if batch and len(batch) + len(points) > tracking.BATCH:
                self._log(batch, done)
                batch = []
            batch += points
            done += len(raw)
            lines += 1
        if lines:
            self._log(batch, done)
        return lines

    def _log(self, batch: list[Point], done: int) -> None:
        tracking.log_points(self.run_id, batch)
        aside = self.mark.with_name(f"{self.mark.name}.part")
        aside.write_text(json.dumps({"run": self.run_id, "bytes": done}))
        aside.replace(self.mark)

    def _sent(self) -> int:
        try:
            mark = json.loads(self.mark.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return 0
        return int(mark["bytes"]) if mark.get("run") == self.run_id else 0


def _line(raw: bytes) -> dict[str, Any]:
    """A metrics line; {} for one that a killed job left torn."""
    try:
        row = json.loads(raw)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
