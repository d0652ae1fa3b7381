"""The report that README quotes: it says what is so, and fails where something is not."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import reference.__main__ as report
from reference.teeth import TEETH, Tooth

ROOT = Path(__file__).parents[2]


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["reference", *arguments])
    monkeypatch.setattr(report, "TEETH", TEETH[:2])
    return report.main()


def test_it_counts_configurations_engines_dtypes_and_teeth(monkeypatch, capsys):
    assert run(monkeypatch, "--configurations", "3", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert [(row["dtype"], row["against"]) for row in result["rows"]][:3] == [
        ("float64", "torch"),
        ("float32", "torch"),
        ("float64", "golden vectors"),
    ]
    assert result["rows"][0]["configurations"] == 3
    assert 0 < result["rows"][0]["gradients"] < 1e-12 < result["rows"][1]["gradients"] < 1e-4
    assert set(result["teeth"]) == {tooth.name for tooth in TEETH[:2]}


def test_it_reads_as_a_table(monkeypatch, capsys):
    assert run(monkeypatch, "--configurations", "2") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "input and forget gate swapped                 central, complex, directions, torch"
    assert lines[-1] == "teeth caught: 2 of 2"
    assert "numpy   float64  torch                        2  " in "\n".join(lines)


def test_a_tooth_that_nothing_catches_is_named_and_fails(monkeypatch, capsys):
    harmless = Tooth("harmless", TEETH[0].module, TEETH[0].old, TEETH[0].old)
    monkeypatch.setattr(sys, "argv", ["reference", "--configurations", "1"])
    monkeypatch.setattr(report, "TEETH", (harmless,))
    assert report.main() == 1
    out = capsys.readouterr().out
    assert "harmless                                      NONE" in out
    assert out.splitlines()[-1] == "teeth caught: 0 of 1"


def test_an_error_beyond_the_limit_is_marked_and_fails(monkeypatch, capsys):
    monkeypatch.setitem(report.VALUES, "float32", 1e-30)
    assert run(monkeypatch, "--configurations", "2") == 1
    wrong = [line for line in capsys.readouterr().out.splitlines() if line.endswith("WRONG")]
    assert len(wrong) == len(report.ENGINES)
    assert all("float32" in line for line in wrong)


def test_wrong_arguments_and_a_missing_torch_end_in_one_line(monkeypatch, capsys):
    with pytest.raises(SystemExit):
        run(monkeypatch, "--configurations", "0")
    assert "--configurations is at least 1" in capsys.readouterr().err
    monkeypatch.setattr(report.importlib.util, "find_spec", lambda name: None)
    assert run(monkeypatch) == 1
    assert capsys.readouterr().err == (
        "python -m reference: error: torch is not installed; `make test` installs it\n"
    )


def test_recordings_that_are_absent_end_in_one_line_before_anything_else(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(report, "against_torch", None)
    assert run(monkeypatch, "--recordings", str(tmp_path / "absent")) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("python -m reference: error: ")
    assert "absent: no such file or folder" in err


def test_every_engine_trains_beside_torch(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(report, "ENGINES", {"numpy": None})
    for apart, status in ((1e-12, 0), (1e-8, 1), (float("nan"), 1)):
        monkeypatch.setattr(report, "worst_difference", lambda path, n, engine, apart=apart: apart)
        assert run(monkeypatch, "--configurations", "1", "--recordings", str(tmp_path)) == status
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(f"losses of 300 updates in float64, numpy beside torch: {apart:.1e} (1e-09)")
        assert last.endswith("WRONG") == bool(status)


def test_python_dash_m_runs_it():
    command = [sys.executable, "-m", "reference", "--help"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    assert process.stdout.startswith("usage: python -m reference")


def test_readme_quotes_the_report_as_it_is(monkeypatch, capsys):
    """Word for word, but for the numbers, and for every engine."""
    assert run(monkeypatch, "--configurations", "1") == 0
    printed = capsys.readouterr().out
    (quoted,) = re.findall(r"```\n(engine .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    number = re.compile(r" *\d[\d.]*(e[-+]\d+)?")
    words = [number.sub(" N", line) for line in printed[printed.index("engine ") :].splitlines()]
    lines = quoted.splitlines()
    assert [number.sub(" N", line) for line in lines[: len(words)]] == words
    for line, engine in zip(lines[len(words) :], report.ENGINES, strict=True):
        assert line.startswith(f"losses of {report.UPDATES} updates in float64, {engine} beside torch: ")
