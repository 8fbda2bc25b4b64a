"""The steps of curation for one kind of record: worked out row by row in partitions, put together by keys.

What is dear (folding, MinHash, languages, personal data, leaks) is a pure function of one record, done on
partitions by an engine and remembered by content; what ties records together (copies, the user cap) works on
keys of a fixed size. So what comes out depends on the records alone: not on their order, the size of partitions,
the number of workers, or on what was curated before.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from rlhf.data import contract, dedup, fingerprints, near, splits, verdicts
from rlhf.data.cache import Cache, name_of
from rlhf.data.engine import Engine, Work
from rlhf.data.fingerprints import FINGERPRINT
from rlhf.data.funnel import Funnel
from rlhf.data.leakage import HeldOut
from rlhf.data.reading.reader import Reader
from rlhf.data.table import Table
from rlhf.data.user_cap import over_cap
from rlhf.data.verdicts import VERDICT, Asked
from rlhf.params import DataParams

Record = dict[str, Any]
Kind = Literal["prompts", "demonstrations", "pretraining"]
PAIRS_A_PIECE = 2_000  # candidates of near copies; ten times as many where the data is one partition


class Sieve(NamedTuple):
    """A step that looks at each record as it is read: `keep` gives it, perhaps changed, or None.

    is_named: whether what is left out is listed in removed.jsonl, or counted alone. done: what `keep` changed, as it
    counts it; with it, a step that did nothing is not told.
    """

    step: str
    reason: str
    keep: Callable[[Record], Record | None]
    is_named: bool = True
    done: Counter[str] | None = None


class Curation:
    """One kind of record on its way: `rows` are those still there, `sides` the splits; the earliest first."""

    def __init__(
        self,
        kind: Kind,
        folder: Path,
        params: DataParams,
        engine: Engine,
        asked: Asked,
        *,
        cache: Path | None = None,
        alone: bool = False,
    ) -> None:
        """folder: for texts and removals, while it lasts. cache: where to remember; None: nowhere.

        alone: there are no other kinds that removals have to be told apart from.
        """
        self.kind, self.params, self.engine, self.asked = kind, params, engine, asked
        self.table = Table(folder / f"{kind}.jsonl")
        self.funnel = Funnel(folder / f"{kind}-removed.jsonl", self.shown, {} if alone else {"kind": kind})
        self.rows = np.empty(0, np.int64)
        self.sides: dict[str, np.ndarray] = {}
        self.spans: dict[int, list[Record]] = {}  # personal data by row
        self.use_cases = np.empty(0, np.uint8)  # as classified, by row: places in contract.USE_CASES
        self.prints = Cache(cache and cache / f"{kind}-fingerprints", FINGERPRINT, params.prefix_chars)
        self.verdicts = Cache(cache and cache / f"{kind}-verdicts", VERDICT, asked)

    def remember(self) -> None:
        """Keep what was computed for the next time."""
        self.prints.write()
        self.verdicts.write()

    def close(self) -> None:
        self.table.close()
        self.funnel.close()

    def shown(self, row: int) -> str:
        """The beginning of a row's text, redacted: as it may be shown."""
        return verdicts.shown(next(self.table.records([row])))

    # ------------------------------------------------------------ contract and copies

    def read(
        self,
        files: list[Path],
        rejects: list[contract.Reject],
        sieve: Sieve | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Take in the valid records of the files; their fingerprints are computed while the next are read.

        reader: reads the files, and appends to `rejects`; None: they hold the contract's records.
        """
        before, out = len(rejects), list[str]()
        records: Iterable[Record] = reader.records() if reader else contract.read(self.kind, files, rejects)
        if sieve is not None:
            records = _sifted(records, sieve, out)
        partitions = (
            np.arange(start, stop) for start, stop in self.table.fill(records, self.params.partition_rows)
        )
        found = [np.empty(0, FINGERPRINT)]
        for _, _, prints, _ in self._each(
            self.prints, partitions, fingerprints.of_lines, self.params.prefix_chars, self.table.store.gather
        ):
            found.append(prints)
        self.rows = self.table.age
        prints = np.concatenate(found)
        found.clear()
        self._prints = prints[self.rows]
        reasons = Counter(
            ": ".join(filter(None, (reject.field, reject.reason.split(" in ")[0])))
            for reject in rejects[before:]
        )
        valid = len(self.table) + len(out)
        left_out = reader.left_out() if reader else Counter()
        readable = valid + left_out.total()
        self.funnel.step("contract", readable + len(rejects) - before, readable, reasons)
        if left_out:
            self.funnel.step("format", readable, valid, left_out)
        if reader and (done := reader.done()):
            self.funnel.step("reading", valid, valid, done)
        if sieve is not None and not sieve.is_named and out:
            self.funnel.step(sieve.step, valid, valid - len(out), {sieve.reason: len(out)})
        elif sieve is not None and sieve.is_named and (out or sieve.done is None):
            self.funnel.drop(
                sieve.step, valid, ((None, {"id": id_, "reason": sieve.reason}) for id_ in sorted(out))
            )
        if sieve is not None and sieve.done:
            self.funnel.step(sieve.step, valid - len(out), valid - len(out), sieve.done)

    def drop_copies(self) -> None:
        """Exact copies, prompts of equal beginnings, near copies. Each names the record that stands."""
        step, of = dedup.copies(self._prints, self.params.near_jaccard, self._near_copies)
        del self._prints
        left = len(step)
        for code, name in enumerate(dedup.STEPS):
            if code == 0 or (name == "prefix" and self.kind != "prompts"):
                continue
            places = np.flatnonzero(step == code)
            gone, originals = self.rows[places], self.table.ids(self.rows[of[places]])
            self._drop(
                name,
                left,
                gone,
                [{"reason": dedup.REASONS[name], "duplicate_of": original} for original in originals],
            )
            left -= len(gone)
        self.rows = self.rows[step == 0]

    def _near_copies(self, pairs: np.ndarray) -> np.ndarray:
        """[pairs] bool, True for near copies. pairs: [pairs, 2] places in the order of age."""

        def pieces() -> Iterator[tuple[bytes, np.ndarray]]:
            is_small = len(self.table) <= self.params.partition_rows  # and pays for no processes
            size = PAIRS_A_PIECE * (10 if is_small else 1)
            for start in range(0, len(pairs), size):
                places, these = np.unique(pairs[start : start + size], return_inverse=True)
                lines = b"".join(self.table.store.lines(self.rows[places].tolist()))
                yield lines, these.reshape(-1, 2)

        found = self.engine.map(near.verify_lines, self.params.near_jaccard, pieces())
        return np.concatenate([np.empty(0, bool), *found])

    # ------------------------------------------------------------ each record by itself

    def judge(self) -> None:
        """Language and length of what is left; who is over the cap; the split; personal data of its training side."""
        size = len(self.table)
        foreign, tokens = np.zeros(size, "S8"), np.zeros(size, np.uint32)
        private = self._private()
        self.use_cases = np.zeros(size, np.uint8)

        def piece(rows: np.ndarray) -> tuple[bytes, np.ndarray]:
            return self.table.store.gather(rows), private[rows]

        salt = (~private).astype(np.uint64)  # what was not asked is not known
        for rows, keys, found, spans in self._each(
            self.verdicts, self._partitions(self.rows), verdicts.of_lines, self.asked, piece, salt
        ):
            foreign[rows], tokens[rows] = found["foreign"], found["tokens"]
            self.use_cases[rows] = found["use_case"]
            for at in np.flatnonzero(found["personal"]).tolist():
                self.spans[int(rows[at])] = spans[name_of(keys[at])]
        self._filter("language", foreign != b"", lambda row: {"reason": f"language {foreign[row].decode()}"})
        if self.kind != "pretraining":
            limit = self.params.max_prompt_tokens
            self._filter("length", tokens > limit, lambda row: {"reason": f"over {limit} tokens"})
        if self.kind == "prompts":
            over = np.zeros(size, bool)
            over[self.rows] = over_cap(self.table.user_numbers(self.rows), self.params.user_cap)
            reason = f"over {self.params.user_cap} prompts of one user"
            self._filter("user_cap", over, lambda row: {"reason": reason})

    def split(self, valid_documents: float = 0.0) -> None:
        """Who is held out; the steps that follow work on the training side."""
        names = ("train", "valid", "test") if self.kind == "prompts" else ("train", "valid")
        side = self._side_of_rows(valid_documents)
        self.sides = {name: self.rows[side == code] for code, name in enumerate(names)}
        held_out = {f"held out for {name}": len(self.sides[name]) for name in names[1:]}
        self.funnel.step("split", len(self.rows), len(self.sides["train"]), held_out)
        self.rows = self.sides["train"]

    def drop_personal(self) -> None:
        """Training records that hold personal data; or, where data.pii is redact, none: they are redacted as written."""
        personal = np.zeros(len(self.table), bool)
        personal[list(self.spans)] = True
        for row in self.rows[personal[self.rows]].tolist():
            self.funnel.pii.update(str(span["kind"]) for span in self.spans[row])
        if self.params.pii == "redact":
            personal[:] = False
        self._filter(
            "pii",
            personal,
            lambda row: {
                "reason": ", ".join(sorted({str(span["kind"]) for span in self.spans[row]})),
                "pii": self.spans[row],
            },
        )

    # ------------------------------------------------------------ leaks

    def texts(self, side: str) -> Iterator[str]:
        """What training may not contain of a side that is held out."""
        for record in self.table.records(self.sides[side]):
            yield from verdicts.held_out_texts(record)

    def drop_leaks(
        self, held_out: HeldOut, answered: frozenset[str] = frozenset(), side: str = "train"
    ) -> None:
        """Records of a side that contain what is held out, or ask what a demonstration answers."""
        rows = self.sides[side]
        ordered = np.sort(rows)
        pieces = map(self.table.store.gather, self._partitions(ordered))
        found: list[str | None] = []
        for names in self.engine.map(verdicts.leaks_of_lines, (held_out, answered), pieces):
            found += names
        leaks = {row: name for row, name in zip(ordered.tolist(), found, strict=True) if name}
        gone = np.isin(rows, list(leaks)) if leaks else np.zeros(len(rows), bool)
        entries = [verdicts.leak_entry(leaks[row]) for row in rows[gone].tolist()]
        self._drop("leakage", len(rows), rows[gone], entries, of=None if side == "train" else side)
        self.sides[side] = rows[~gone]
        if side == "train":
            self.rows = self.sides[side]

    # ------------------------------------------------------------ what the steps share

    def _drop(
        self, step: str, before: int, gone: np.ndarray, entries: Sequence[Record], of: str | None = None
    ) -> None:
        ids = self.table.ids(gone)
        told = (
            (row, {"id": id_, **entry}) for row, id_, entry in zip(gone.tolist(), ids, entries, strict=True)
        )
        self.funnel.drop(step, before, told, of=of)

    def _filter(self, step: str, wrong: np.ndarray, entry: Callable[[int], Record]) -> None:
        """Drop the rows where `wrong` ([rows of the table] bool) is True. entry: what is told of a row."""
        gone = self.rows[wrong[self.rows]]
        self._drop(step, len(self.rows), gone, [entry(row) for row in gone.tolist()])
        self.rows = self.rows[~wrong[self.rows]]
        if self.sides:
            self.sides["train"] = self.rows

    def _private(self) -> np.ndarray:
        """[rows of the table] bool: where personal data is looked for."""
        if self.kind == "prompts":
            return self._user_side(np.arange(len(self.table))) == 0
        return np.full(len(self.table), self.kind == "demonstrations")

    def _side_of_rows(self, valid_documents: float) -> np.ndarray:
        """[rows] 0 train, 1 valid, 2 test."""
        if self.kind == "prompts":
            return self._user_side(self.rows)
        if self.kind == "demonstrations":
            sides = (
                splits.demonstration_split(record, self.params) for record in self.table.records(self.rows)
            )
        else:
            sides = (
                splits.document_split(id_, self.params, valid_documents) for id_ in self.table.ids(self.rows)
            )
        return np.array([side == "valid" for side in sides], np.int64)

    def _user_side(self, rows: np.ndarray) -> np.ndarray:
        users, which = np.unique(self.table.user_numbers(rows), return_index=True)
        code = {"train": 0, "valid": 1, "test": 2}
        side = np.array(
            [code[splits.user_split(user, self.params)] for user in self.table.users(rows[which])], np.int64
        )
        return side[np.searchsorted(users, self.table.user_numbers(rows))]

    def _partitions(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """The rows, ascending, in pieces that lie close together."""
        ordered, size = np.sort(rows), self.params.partition_rows
        cuts = np.searchsorted(ordered, np.arange(size, len(self.table), size))
        return (part for part in np.split(ordered, cuts) if len(part))

    def _each(
        self,
        cache: Cache,
        partitions: Iterable[np.ndarray],
        work: Work,
        shared: Any,
        piece: Callable[[np.ndarray], Any],
        salt: np.ndarray | None = None,
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]]:
        """(rows, content keys, values, notes by key) of each partition: what is known from the cache, the rest worked out.

        work(shared, piece(rows)) gives [rows] values, or (values, {place: note}). salt: [rows of the table],
        what a value depends on besides the content.
        """
        waiting: deque[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = deque()

        def unknown() -> Iterator[Any]:
            for rows in partitions:
                keys = self.table.content(rows)
                if salt is not None:
                    keys[:, 1] ^= salt[rows]
                known, values = cache.find(keys)
                waiting.append((rows, keys, known, values))
                if not known.all():
                    yield piece(rows[~known])

        def done(answer: Any = None) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
            rows, keys, known, old = waiting.popleft()
            values = np.empty(len(rows), cache.dtype)
            values[known] = old
            new, notes = answer if isinstance(answer, tuple) else (answer, {})
            places = np.flatnonzero(~known)
            if len(places):
                values[places] = new
            told = {name_of(keys[places[at]]): note for at, note in notes.items()}
            told |= cache.notes_of(keys[known])
            cache.keep(keys, values, told)
            return rows, keys, values, told

        for answer in self.engine.map(work, shared, unknown()):
            while waiting[0][2].all():
                yield done()
            yield done(answer)
        while waiting:
            yield done()


def _sifted(records: Iterable[Record], sieve: Sieve, out: list[str]) -> Iterator[Record]:
    for record in records:
        kept = sieve.keep(record)
        if kept is None:
            out.append(record["id"])
        else:
            yield kept
