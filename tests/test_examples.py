"""The examples run, on little data."""

from __future__ import annotations

from pathlib import Path

from subprocesses import output

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_word_vectors(tmp_path: Path) -> None:
    png = tmp_path / "words.png"
    arguments = ("--words", "60000", "--epochs", "2", "--dimensions", "16", "--png", str(png))
    said = output(str(EXAMPLES / "word_vectors.py"), *arguments, timeout=300)
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in said.splitlines() if line.startswith("epoch")]
    assert len(losses) == 2 and losses[1] < losses[0]
    assert "list: " in said
    assert png.read_bytes().startswith(b"\x89PNG")
