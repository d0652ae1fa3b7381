"""Files: whole or not at all."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from lstm_scratch.errors import ModelFileError
from lstm_scratch.files import atomic_write, load_model, save_model

ARRAYS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.array([1.5, -2.0])}
DESCRIPTION = {"labels": ["ä", "b"], "number": 0.1}


def test_arrays_and_description_come_back_as_they_were(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    save_model(path, ARRAYS, DESCRIPTION)
    arrays, description = load_model(path)
    assert description == DESCRIPTION
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(arrays[name], array)
        assert arrays[name].dtype == array.dtype
    assert list(path.parent.iterdir()) == [path]


def test_the_same_model_is_the_same_bytes_in_another_process(tmp_path):
    program = (
        "import sys; import numpy as np; from lstm_scratch.files import save_model;"
        "save_model(sys.argv[1], {'a': np.arange(4.0), 'b': np.ones(3)}, {'y': 1, 'x': [2]})"
    )
    for name in ("1", "2"):
        subprocess.run([sys.executable, "-c", program, tmp_path / name], check=True)
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_an_interrupted_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "model"
    path.write_text("old")

    def save():
        with atomic_write(path) as part:
            part.write_text("new, but not compl")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_it_saves_leaves_the_old_file(tmp_path):
    path = tmp_path / "model"
    path.write_text("old")
    program = (
        "import os, signal, sys; from lstm_scratch.files import atomic_write\n"
        "with atomic_write(sys.argv[1]) as part:\n"
        "    part.write_text('new'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


def test_a_written_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "atomic") as part:
        part.write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("left", [0, 7, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path, left):
    path = tmp_path / "model"
    save_model(path, ARRAYS, DESCRIPTION)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ModelFileError, match=r"model: not a whole safetensors file .*; copy it again"):
        load_model(path)


def test_a_later_version_and_foreign_files_are_refused(tmp_path):
    from safetensors.numpy import save_file

    path = tmp_path / "model"
    save_model(path, ARRAYS, DESCRIPTION)
    path.write_bytes(path.read_bytes().replace(rb"\"format_version\": 1", rb"\"format_version\": 2"))
    with pytest.raises(ModelFileError, match=r"model format 2, but this lstm-scratch reads format 1; use"):
        load_model(path)
    save_file(ARRAYS, path)
    with pytest.raises(ModelFileError, match="no lstm-scratch model"):
        load_model(path)
    with pytest.raises(ModelFileError, match="no such model file; `lstm-scratch train"):
        load_model(tmp_path / "nowhere")
