import pytest

from rlhf.data import sources


@pytest.mark.slow
def test_fetching_twice_gives_the_same_bytes(tmp_path):
    counts = sources.fetch(tmp_path / "a")
    sources.fetch(tmp_path / "b")
    assert counts["prompts"] > 10_000
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
