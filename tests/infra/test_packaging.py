"""The lock file holds what pyproject.toml asks for, and the Makefile names no place on the network."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@pytest.fixture
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text())["project"]


def test_every_requirement_is_locked_within_its_range(project, root):
    lines = (root / "requirements.lock").read_text().splitlines()
    locked = {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)
    }
    assert all(locked.values()), "the lock file pins versions exactly"
    for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]:
        requirement = Requirement(line)
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)], prereleases=True)


def test_a_wheel_holds_every_file_that_the_program_reads(root, tmp_path):
    packages = ("flows", "tasks", "rlhf", "infra")
    for name in (
        *packages,
        "pyproject.toml",
        "README.md",
        "LICENSE",
    ):  # pip leaves a build folder where it builds
        source = root / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, ".", "-w", str(tmp_path / "wheel")], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        path.relative_to(root).as_posix()
        for name in packages
        for path in (root / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"
    }
    assert wanted <= held, sorted(wanted - held)


def test_the_licence_is_the_one_that_is_declared(project, root):
    assert project["license"] == "Apache-2.0" and project["license-files"] == ["LICENSE"]
    assert "Version 2.0, January 2004" in (root / "LICENSE").read_text()


def test_make_and_ci(root):
    assert "://" not in (root / "Makefile").read_text() + (root / "requirements.lock").read_text()
    targets = ["help", "run", "showcase", "test", "test-slow", "lint", "types", "up", "down", "reset"]
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=root, check=True, capture_output=True)
    script = root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert [line for line in script.read_text().splitlines() if line.startswith("make")] == [
        "make test",
        "make lint",
        "make types",
    ]
