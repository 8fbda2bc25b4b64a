import hashlib

import pytest

from rlhf import packages
from rlhf.packages import Wheel


def test_a_package_that_pip_cannot_find_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("RLHF_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ValueError, match=r"pip could not download no-such-package==1\.0: ERROR"):
        packages.fetch(Wheel("no-such-package==1.0", "no_such_package-1.0-py3-none-any.whl", "0" * 64))


def test_a_kept_wheel_is_used_only_while_it_is_what_was_pinned(tmp_path, monkeypatch):
    monkeypatch.setenv("RLHF_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    (tmp_path / "packages").mkdir()
    kept = tmp_path / "packages" / "a-1.0-py3-none-any.whl"
    kept.write_bytes(b"wheel")
    wheel = Wheel("a==1.0", kept.name, hashlib.sha256(b"wheel").hexdigest())
    assert packages.fetch(wheel) == kept
    kept.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"could not download a==1\.0"):
        packages.fetch(wheel)
