"""Arrays in ``.npy`` and ``.npz`` files, read in blocks of rows: memory depends on the block, not on the file."""

from __future__ import annotations

import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ArrayFile", "CommandError", "open_labels", "open_logits", "open_weights"]

# What numpy.lib.format and zipfile raise on damaged, encrypted or unsupported content.
_DAMAGED = (
    ValueError,
    EOFError,
    SyntaxError,
    RuntimeError,  # includes NotImplementedError
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


class CommandError(ValueError):
    """A request that cannot be carried out; the message is one line for the user."""


class ArrayFile:
    """One array in a ``.npy`` file or in a member of a ``.npz`` file, read in blocks of rows.

    Parameters
    ----------
    name : str
        Path of a ``.npy`` file, of a ``.npz`` file with one array in it, or ``file.npz:array``.

    Raises
    ------
    CommandError
        If the file is missing, damaged, of another format, or holds Python objects.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._path, member = _split_name(name)
        self._member: str | None = None
        try:
            with open(self._path, "rb") as stream:
                magic = stream.read(6)
                stream.seek(0)
                if magic == b"\x93NUMPY":
                    self._read_header(stream)
                    self._offset = stream.tell()
                    self._check_size(os.fstat(stream.fileno()).st_size)
                elif magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
                    with zipfile.ZipFile(stream) as archive:
                        self._member = self._pick_member(archive, member)
                        with archive.open(self._member) as content:
                            self._read_header(content)
                else:
                    self._refuse("is not a .npy or .npz file; write it with numpy.save")
        except (OSError, *_DAMAGED) as error:
            self._refuse_error(error)
        if self._member is None and member is not None:
            self._refuse(f"is a .npy file and has no array named {member!r}; leave out the name")

    @property
    def rows(self) -> int:
        """Length of the first axis."""
        return self.shape[0] if self.shape else 0

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """Yield the array in blocks of `rows` rows, the last one shorter."""
        return self._mapped_blocks(rows) if self._member is None else self._zipped_blocks(rows)

    def _mapped_blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        for start in range(0, self.rows, rows):
            # A mapping for each block: dropping it lets go of the pages that were read.
            try:
                mapped = np.memmap(self._path, self.dtype, "r", self._offset, self.shape, self._order)
            except (OSError, ValueError) as error:
                self._refuse_error(error)
            yield np.asarray(mapped[start : start + rows])

    def _zipped_blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        if self._order == "F":
            self._refuse(
                "is stored column by column and cannot be read by rows out of a .npz file; "
                "save numpy.ascontiguousarray(array), or use a .npy file"
            )
        assert self._member is not None
        try:
            with zipfile.ZipFile(self._path) as archive, archive.open(self._member) as stream:
                _parse_header(stream)
                for start in range(0, self.rows, rows):
                    size = min(rows, self.rows - start)
                    block = np.empty((size, *self.shape[1:]), self.dtype)
                    got = _fill(stream, block.reshape(-1).view(np.uint8).data)
                    if got < block.nbytes:
                        row = start + got * size // block.nbytes
                        self._refuse(f"ends in row {row} of {self.rows}; write the file again")
                    yield block
        except (OSError, *_DAMAGED) as error:
            self._refuse_error(error)

    def _read_header(self, stream: IO[bytes]) -> None:
        self.shape, fortran_order, self.dtype = _parse_header(stream)
        self._order: Any = "F" if fortran_order else "C"
        if self.dtype.hasobject:
            self._refuse("holds Python objects; save a plain numeric array")

    def _check_size(self, size: int) -> None:
        present = size - self._offset
        needed = math.prod(self.shape) * self.dtype.itemsize
        if present < needed:
            where = f"in row {present * self.rows // needed}" if self._order == "C" else "early"
            self._refuse(f"ends {where} of {self.rows}; write the file again")

    def _pick_member(self, archive: zipfile.ZipFile, wanted: str | None) -> str:
        arrays = [name.removesuffix(".npy") for name in archive.namelist() if name[-4:] == ".npy"]
        known = ", ".join(arrays[:5]) + (", ..." if len(arrays) > 5 else "")
        if not arrays:
            self._refuse("holds no array")
        if wanted is None and len(arrays) > 1:
            self._refuse(f"holds {len(arrays)} arrays ({known}); name one: {self._path}:{arrays[0]}")
        if wanted is not None and wanted not in arrays:
            self._refuse(f"has no array named {wanted!r}; it holds {known}")
        return f"{arrays[0] if wanted is None else wanted}.npy"

    def _refuse(self, reason: str) -> NoReturn:
        raise CommandError(f"{self.name}: {reason}")

    def _refuse_error(self, error: BaseException) -> NoReturn:
        if isinstance(error, CommandError):
            raise error
        if isinstance(error, OSError) and error.strerror:
            raise CommandError(f"{self.name}: {error.strerror}") from error
        detail = " ".join(str(error).split()) or type(error).__name__
        raise CommandError(f"{self.name}: cannot be read ({detail})") from error


def _split_name(name: str) -> tuple[str, str | None]:
    path, colon, member = name.rpartition(":")
    if colon and path.endswith((".npz", ".npy")) and not os.path.exists(name):
        return path, member
    return name, None


def _parse_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"npy format {version[0]}.{version[1]} is for structured arrays only")


def _fill(stream: IO[bytes], target: memoryview) -> int:
    """Read until `target` is full or the stream ends; return the number of bytes read."""
    done = 0
    while done < len(target):
        piece = stream.read(min(len(target) - done, 1 << 20))
        if not piece:
            break
        target[done : done + len(piece)] = piece
        done += len(piece)
    return done


def open_logits(name: str) -> ArrayFile:
    """Return the file of logits (n, C); refuse what cannot be logits."""
    logits = ArrayFile(name)
    if logits.dtype.kind != "f" or logits.dtype.itemsize > 8:
        hints = dict.fromkeys("iu", "; are LOGITS and LABELS swapped?")
        hints["V"] = "; the format does not keep bfloat16, save it as float32"
        hint = hints.get(logits.dtype.kind, "")
        raise CommandError(f"{name}: logits must be float16, float32 or float64, got {logits.dtype}{hint}")
    if len(logits.shape) != 2:
        hint = "; reshape it to (-1, classes)" if len(logits.shape) > 2 else ""
        raise CommandError(f"{name}: logits must be (rows, classes), got shape {logits.shape}{hint}")
    if logits.rows < 1:
        raise CommandError(f"{name}: has no rows (shape {logits.shape}); nothing to evaluate")
    if logits.shape[1] < 2:
        raise CommandError(
            f"{name}: a softmax needs two classes or more, got shape {logits.shape}; for one "
            "score z per row save numpy.stack([0 * z, z], axis=1)"
        )
    return logits


def open_labels(name: str, logits: ArrayFile) -> ArrayFile:
    """Return the file of labels (n,) or distributions (n, C) that go with `logits`."""
    labels = ArrayFile(name)
    rows, classes = logits.shape
    wanted = f"integer labels ({rows},) or a distribution ({rows}, {classes})"
    if labels.shape not in ((rows,), (rows, classes)):
        raise CommandError(
            f"{name}: shape {labels.shape} does not fit {logits.name} with shape {logits.shape}; give {wanted}"
        )
    if labels.dtype.kind not in ("iu" if len(labels.shape) == 1 else "fiub"):
        raise CommandError(f"{name}: labels of dtype {labels.dtype}; give {wanted}")
    return labels


def open_weights(name: str, logits: ArrayFile) -> ArrayFile:
    """Return the file of weights (n,) that go with the rows of `logits`."""
    weights = ArrayFile(name)
    rows = logits.rows
    if weights.shape != (rows,):
        raise CommandError(
            f"{name}: shape {weights.shape} does not fit {logits.name}; give one weight for each row, shape ({rows},)"
        )
    if weights.dtype.kind not in "fiub":
        raise CommandError(f"{name}: weights must be real numbers, got dtype {weights.dtype}")
    return weights
