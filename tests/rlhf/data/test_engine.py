import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from rlhf.data.engine import Engine
from rlhf.data.room import FILES, curate_files
from rlhf.params import DataParams
from rlhf.records import write_jsonl


def times(factor, number):
    return factor * number


def fail(factor, number):
    raise ValueError(f"piece {number}")


def test_answers_come_in_order_and_few_pieces_wait(tmp_path):
    drawn = []

    def pieces():
        for number in range(40):
            drawn.append(number)
            yield number

    with Engine(DataParams(workers=2), tmp_path) as engine:
        for answer in engine.map(times, 3, pieces()):
            assert answer % 3 == 0 and len(drawn) <= answer // 3 + 6
        assert list(engine.map(times, 5, range(20))) == [5 * number for number in range(20)]
        with pytest.raises(ValueError, match="piece 0"):
            list(engine.map(fail, 1, range(4)))


def test_one_piece_starts_no_process(tmp_path):
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with Engine(DataParams(workers=4), tmp_path) as engine:
        assert list(engine.map(times, 2, [7])) == [14]
        assert {child.pid for child in psutil.Process().children(recursive=True)} == before


def test_workers_end_with_the_process_that_started_them(tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from rlhf.data.engine import Engine\n"
        "from rlhf.params import DataParams\n"
        "if __name__ == '__main__':\n"
        "    with Engine(DataParams(workers=2), Path(sys.argv[1])) as engine:\n"
        "        for _ in engine.map(pow, 2, range(8)): pass\n"
        "        print('up', flush=True)\n"
        "        time.sleep(60)\n"
    )
    (tmp_path / "program.py").write_text(program)
    env = {**os.environ, "PYTHONPATH": os.getcwd()}
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    )
    assert process.stdout and process.stdout.readline() == "up\n"
    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    deadline = time.monotonic() + 20
    while any(member.is_running() and member.status() != psutil.STATUS_ZOMBIE for member in family):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_script_without_a_guard_can_curate_on_processes(tmp_path):
    """What processes start with is not the script: it would curate again in each of them."""
    rows = [
        {"id": f"{n}", "user_id": f"u{n % 40}", "text": f"How deep is lake number {n} in spring?"}
        for n in range(200)
    ]
    write_jsonl(tmp_path / "in.jsonl", rows)
    (tmp_path / "script.py").write_text(
        "from pathlib import Path\n"
        "from rlhf.data.room import curate_files\n"
        "from rlhf.params import DataParams\n"
        "print('began')\n"
        "found = curate_files([Path('in.jsonl')], Path('out'), DataParams(workers=2, partition_rows=50))\n"
        "print(found.rows)\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["began", "200"]


def test_a_dask_cluster_gives_the_same_bytes(tmp_path):
    distributed = pytest.importorskip("distributed")
    rows = [
        {
            "id": f"p{at}",
            "user_id": f"u{at % 7}",
            "text": f"What is the old bridge of town {at % 40} made of?",
        }
        for at in range(120)
    ]
    write_jsonl(tmp_path / "prompts.jsonl", rows)
    params = DataParams(partition_rows=25, workers=1)
    curate_files([tmp_path / "prompts.jsonl"], tmp_path / "here", params)
    with distributed.LocalCluster(n_workers=2, processes=False, dashboard_address=None) as cluster:
        there = params.model_copy(update={"engine": "dask", "scheduler": cluster.scheduler_address})
        curate_files([tmp_path / "prompts.jsonl"], tmp_path / "there", there)
    for name in FILES:
        assert (tmp_path / "here" / name).read_bytes() == (tmp_path / "there" / name).read_bytes()


def test_a_scheduler_that_does_not_answer_is_a_sentence(monkeypatch, tmp_path):
    distributed = pytest.importorskip("distributed")

    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(distributed, "Client", refuse)
    params = DataParams(engine="dask", scheduler="tcp://127.0.0.1:9")
    with (
        Engine(params, tmp_path) as engine,
        pytest.raises(ValueError, match=r"no Dask scheduler answers at tcp://127"),
    ):
        list(engine.map(times, 1, [1, 2]))
