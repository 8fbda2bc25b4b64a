"""No network, no server of somebody else's, and a state folder that goes away."""

import os
import tempfile
from pathlib import Path

import pytest

_HOME = tempfile.TemporaryDirectory(prefix="rlhf-tests-")

# Before Prefect is imported: its settings are read then.
os.environ |= {
    "PREFECT_API_URL": "",
    "PREFECT_HOME": f"{_HOME.name}/prefect",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RLHF_HOME": _HOME.name,
    "DO_NOT_TRACK": "1",
}
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def prefect_server():
    """One Prefect server for the whole run (nine seconds), on a database of its own."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture
def root() -> Path:
    """The repository."""
    return Path(__file__).resolve().parents[1]
