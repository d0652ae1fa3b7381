"""Where compiled functions are kept: whose folder is whose, and what makes it another one."""

import runpy
import shutil
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from simd import jit

SIMD = Path(jit.__file__).parent


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache of this test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    jit.cache_folder.cache_clear()
    yield tmp_path / "cache" / "lstm-scratch"
    jit.cache_folder.cache_clear()


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of `simd`, and beside it two packages with kernels."""
    house = tmp_path / "house"
    shutil.copytree(SIMD, house / "simd", ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("features", "lstm_scratch"):
        (house / package / "kernels").mkdir(parents=True)
        (house / package / "kernels" / "one.py").write_text("ONE = 1\n")
    monkeypatch.setattr(jit, "HERE", house / "simd")
    return house


def folders(house):
    """Names of all packages' folders, asked for anew."""
    jit.cache_folder.cache_clear()
    packages = ("simd", "features/kernels", "lstm_scratch/kernels")
    return [jit.cache_folder(house / package).name for package in packages]


def test_each_package_has_a_folder_of_its_name(cache, house):
    names = folders(house)
    assert [name[:-16] for name in names] == ["simd-", "features.kernels-", "lstm_scratch.kernels-"]
    assert all(set(name[-16:]) <= set("0123456789abcdef") for name in names)
    assert sorted(folder.name for folder in cache.iterdir()) == sorted(names)


def test_a_package_elsewhere_goes_by_its_own_name(cache, house, tmp_path):
    (tmp_path / "theirs").mkdir()
    assert jit.cache_folder(tmp_path / "theirs").name.startswith("theirs-")


def test_a_package_has_another_folder_after_its_own_files_have_changed(house):
    before = folders(house)
    (house / "features" / "kernels" / "one.py").write_text("ONE = 1.0\n")
    assert [a == b for a, b in zip(folders(house), before, strict=True)] == [True, False, True]
    (house / "lstm_scratch" / "kernels" / "two.py").write_text("TWO = 2\n")
    assert [a == b for a, b in zip(folders(house), before, strict=True)] == [True, False, False]


@pytest.mark.parametrize("name", ["moves.py", "vectors.py", "jit.py", "another.py"])
def test_all_have_other_folders_after_a_file_of_simd_has_changed(house, name):
    """Its functions are a part of theirs."""
    before = folders(house)
    with (house / "simd" / name).open("a") as file:
        file.write("# changed\n")
    assert not set(folders(house)) & set(before)


def test_all_have_other_folders_for_another_version_or_cpu(house, monkeypatch):
    def not_installed(name):
        raise PackageNotFoundError(name)

    seen = set(folders(house))
    monkeypatch.setattr(jit, "version", lambda name: {"lstm-scratch": "another"}[name])
    seen.update(folders(house))
    monkeypatch.setattr(jit, "version", not_installed)
    seen.update(folders(house))
    monkeypatch.setattr(jit.config, "CPU_NAME", "another")
    seen.update(folders(house))
    assert len(seen) == 4 * 3


def test_where_nothing_can_be_written_nothing_is_kept(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert jit.cache_folder(SIMD) is None
    assert not jit.is_compiled(SIMD)
    double = jit.jit(lambda x: 2 * x)
    assert double(21) == 42


MOVED = """
from simd.jit import jit
from simd.moves import copy

@jit
def copy_twice(source, target):
    copy(source, target[0], 4)
    copy(source, target[1], 4)
"""


def test_a_function_is_kept_for_the_package_that_defines_it(cache, house):
    path = house / "features" / "kernels" / "twice.py"
    path.write_text(MOVED)
    twice = runpy.run_path(str(path))["copy_twice"]
    assert not jit.is_compiled(path.parent)
    source, target = np.arange(6.0).reshape(2, 3), np.zeros((2, 2, 3))
    twice(source, target)
    np.testing.assert_array_equal(target, [source, source])
    assert jit.is_compiled(path.parent)
    kept = list(cache.rglob("twice.copy_twice-*.nbi"))
    assert [file.is_relative_to(jit.cache_folder(path.parent)) for file in kept] == [True]
    assert not jit.is_compiled(house / "lstm_scratch" / "kernels"), "that is another package"
