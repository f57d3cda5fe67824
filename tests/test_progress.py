"""The progress bar of the estimators: figures on standard error, nothing where nothing is asked for."""

from __future__ import annotations

import importlib.util
import sys

import pytest

if not importlib.util.find_spec("sklearn"):
    pytest.skip("needs scikit-learn", allow_module_level=True)

from fastxent.linear_model._progress import Progress


def test_figures_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rich")
    with Progress(1, 4, "fit") as progress:
        progress.advance(1, loss=0.25, rows_per_second=1234567.0)
        progress.advance(3, loss=0.125, rows_per_second=1234567.0)
    out, err = capsys.readouterr()
    assert out == ""
    # Lines are as wide as the terminal, 80 columns here.
    assert "100 %" in err and "loss 0.125" in err and "1,234,567" in err


@pytest.mark.parametrize("total", [3, None])
def test_bar_ends_where_there_is_an_error(capsys: pytest.CaptureFixture[str], total: int | None) -> None:
    pytest.importorskip("rich")
    with pytest.raises(KeyboardInterrupt), Progress(True, total, "fit") as progress:
        progress.advance(2, loss=1.0)
        raise KeyboardInterrupt
    err = capsys.readouterr().err
    assert "loss 1" in err and ("67 %" in err if total else "2" in err)


@pytest.mark.parametrize("verbose", [0, False])
def test_nothing_is_asked_for(
    verbose: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with Progress(verbose, 3, "fit") as progress:
        progress.advance(3, loss=1.0)
    assert capsys.readouterr() == ("", "")


def test_without_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich.progress", None)
    with pytest.raises(ImportError, match=r"fastxent\[cli\]"):
        Progress(1, 3, "fit")
