"""Damaged lines and files: nothing crashes, and every line that the damage spared is read as it was."""

import gzip
import io
import json
import random
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlhf.data import contract
from rlhf.data.planted import lines as planted_lines

QUICK, WHOLE = 400, 10_000  # damaged files


def read(path):
    rejects: list[contract.Reject] = []
    records = {record["id"]: record for record in contract.read("prompts", [path], rejects)}
    assert all(reject.line >= 1 and reject.reason for reject in rejects)
    return records, rejects


def rows(rng: random.Random, count: int) -> list[dict]:
    return [
        {
            "id": f"p{at}",
            "user_id": "u",
            "text": f"{rng.choice('abcé雨')} {rng.random()} {at}?",
            "created_at": None,
        }
        for at in range(count)
    ]


def damaged(data: bytes, rng: random.Random) -> bytes:
    at, kind = int(rng.random() * (len(data) + 1)), int(rng.random() * 7)
    noise = rng.randbytes(1 + int(rng.random() * 8))
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + noise + data[at:]
    if kind == 2:
        return data[:at] + data[at + len(noise) :]
    if kind == 3:
        return data[:at] + noise + data[at + len(noise) :]
    if kind == 4:
        flipped = bytearray(data)
        for _ in range(1 + int(rng.random() * 3)):
            flipped[int(rng.random() * len(data))] ^= 1 << int(rng.random() * 8)
        return bytes(flipped)
    if kind == 5:
        return data[:at] + rng.choice((b"\0", b"\r", b"\xff", b'"', b"\\", b"}", b"\xef\xbb\xbf")) + data[at:]
    end = min(len(data), at + len(noise))
    return data[:at] + data[at:end] * 3 + data[end:]


def swapped_types(row: dict, rng: random.Random) -> dict:
    values = (None, 0, -1, 1e308, True, "", "x", [], {}, [None], {"role": 1}, [[]], 10**30, "\ud800", "\x00")
    return row | {rng.choice((*row, "messages", "extra", "use_case", "source")): rng.choice(values)}


def fuzz_lines(path, seed):
    """Half of the lines are damaged one by one; no damage brings a line end into a line."""
    rng = random.Random(f"fuzz lines {seed}")
    lines, spared = [], {}
    for number, row in enumerate(rows(rng, 12), 1):
        line = json.dumps(row, ensure_ascii=rng.random() < 0.5).encode()
        if rng.random() < 0.5:
            if rng.random() < 0.3:
                line = json.dumps(swapped_types(row, rng)).encode()
            line = damaged(line, rng).replace(b"\n", b" ")
        else:
            spared[number] = row
        lines.append(line)
    content = rng.choice((b"\n", b"\r\n")).join(lines)
    path.write_bytes(gzip.compress(content) if rng.random() < 0.3 else content)
    records, rejects = read(path)
    reasons = {reject.line: reject.reason for reject in rejects}
    for number, row in spared.items():
        if number in reasons:  # a damaged line before it took its id
            assert reasons[number].startswith("already used in x.jsonl, line ")
        else:
            assert records[row["id"]] == contract.check_prompt(row)
    assert len(records) + len(reasons) <= 12


def fuzz_gzip(path, seed):
    """One damage to the archive: what stood before it is read, up to what its last bytes may have meant."""
    rng = random.Random(f"fuzz gzip {seed}")
    made = rows(rng, 60)
    content = "".join(json.dumps(row) + "\n" for row in made).encode()
    packed = gzip.compress(content)
    at = 20 + int(rng.random() * (len(packed) - 20))
    hurt = packed[:at] + damaged(packed[at:], rng)
    path.write_bytes(hurt)
    records, _ = read(path)
    whole = zlib.decompressobj(31).decompress(packed[:at])
    before = whole[: whole.rfind(b"\n") + 1].count(b"\n")
    for row in made[:before]:
        assert records[row["id"]] == contract.check_prompt(row)


def fuzz_parquet(path, seed):
    """One damage to one row group: the others are read; any damage at all: nothing crashes."""
    rng = random.Random(f"fuzz parquet {seed}")
    made = rows(rng, 40)
    file = io.BytesIO()
    table = pa.Table.from_pylist(made)
    options = {"compression": rng.choice(("zstd", "snappy", "none")), "use_dictionary": rng.random() < 0.5}
    pq.write_table(table, file, row_group_size=10, write_page_checksum=True, **options)
    data = file.getvalue()
    group = int(rng.random() * 4)
    metadata = pq.ParquetFile(io.BytesIO(data)).metadata.row_group(group)
    columns = [metadata.column(at) for at in range(metadata.num_columns)]
    first = min(column.dictionary_page_offset or column.data_page_offset for column in columns)
    last = first + sum(column.total_compressed_size for column in columns)
    anywhere = rng.random() < 0.4
    if anywhere:
        path.write_bytes(damaged(data, rng))
    else:
        hurt = bytearray(data)
        for _ in range(1 + int(rng.random() * 6)):
            hurt[first + int(rng.random() * (last - first))] ^= 1 << int(rng.random() * 8)
        path.write_bytes(bytes(hurt))
    records, rejects = read(path)
    if not anywhere:
        for at, row in enumerate(made):
            if at // 10 != group:
                assert records[row["id"]] == contract.check_prompt(row)
        assert {reject.line for reject in rejects} <= set(range(group * 10 + 1, group * 10 + 11))


def run(folder, seeds):
    for seed in seeds:
        fuzz = (fuzz_lines, fuzz_lines, fuzz_gzip, fuzz_parquet)[seed % 4]
        name = ("x.jsonl", "x.jsonl", "x.jsonl.gz", "x.parquet")[seed % 4]
        try:
            fuzz(folder / name, seed)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_damage_costs_only_what_it_hits(tmp_path):
    run(tmp_path, range(QUICK))


@pytest.mark.slow
def test_ten_thousand_damaged_files(tmp_path):
    run(tmp_path, range(QUICK, QUICK + WHOLE))


def test_every_planted_fault_is_found_and_no_good_line_is_lost(tmp_path):
    cases = planted_lines.cases(3, 4000)
    (tmp_path / "x.jsonl").write_bytes(b"\n".join(line for line, _ in cases))
    records, rejects = read(tmp_path / "x.jsonl")
    assert {reject.line: reject.field for reject in rejects} == {
        number: field for number, (_, field) in enumerate(cases, 1) if field is not None
    }
    good = [json.loads(line) for line, field in cases if field is None]
    assert [contract.check_prompt(row)["messages"] for row in good] == [
        records[row["id"]]["messages"] for row in good
    ]


def test_the_fast_way_and_the_thorough_way_agree():
    fast = 0
    for line, _ in planted_lines.cases(4, 4000):
        found = contract.plain_prompt(line)
        if found is not None:
            fast += 1
            assert found == contract.check_prompt(json.loads(line))
    assert fast > 500
