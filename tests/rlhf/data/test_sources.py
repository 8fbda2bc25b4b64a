import pytest

from rlhf.data import sources


def test_a_package_that_pip_cannot_find_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("RLHF_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ValueError, match=r"pip could not download chatterbot-corpus==1\.3\.3: ERROR"):
        sources.download("chatterbot-corpus==1.3.3")


@pytest.mark.slow
def test_fetching_twice_gives_the_same_bytes(tmp_path):
    counts = sources.fetch(tmp_path / "a")
    sources.fetch(tmp_path / "b")
    assert counts["prompts"] > 10_000
    for path in (tmp_path / "a").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
