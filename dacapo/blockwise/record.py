"""What is known about the making of an output: the parameters it belongs to, and which of its blocks are done.

It lies in a folder beside the output, ``.<dataset>.blocks`` in the same container::

    parameters.json     what defines the result, how it is cut into blocks, and an id that the output also has
    <operation>/        Daisy's marks of the blocks that are done
    complete            is there once all is done
    logs/               of workers, and why blocks failed; deleted when all went well

So an interrupted call goes on when it is made again: with the same parameters only the blocks that are missing are
done. With other parameters it is refused, or starts anew where it may replace the output. A call that is refused leaves
all as it was. Who writes is told by a lock on the folder, which the system takes back when the process ends, however it
ends.
"""

from __future__ import annotations

import enum
import errno
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from dacapo.blockwise.identity import RECORD_ID
from dacapo.blockwise.operation import CLASS_KEY
from dacapo.blockwise.outputs import check_output
from dacapo.errors import BlockwiseError, DacapoError, OutputExistsError, StorageError
from dacapo.experiments.datasplits.datasets.arrays import ZarrArray
from dacapo.store.array_store import LocalArrayIdentifier

_PARAMETERS, _COMPLETE, _LOGS = "parameters.json", "complete", "logs"
_LISTED = 5


class Resume(enum.Enum):
    """What becomes of earlier work on an output with the same parameters."""

    NEVER = "never"
    """It is dropped."""
    UNFINISHED = "unfinished"
    """It goes on where it was interrupted; if it was finished it is done again, where it may be replaced."""
    ALWAYS = "always"
    """It goes on where it was interrupted; if it was finished there is nothing to do."""

    @classmethod
    def of(cls, overwrite: bool, resume: bool) -> Resume:
        """Return what is meant by the two switches of the operations."""
        if not resume:
            return cls.NEVER
        return cls.UNFINISHED if overwrite else cls.ALWAYS


def record_folder(output: LocalArrayIdentifier) -> Path:
    """Return the folder of the record of an output."""
    path = output.container / output.dataset
    return path.parent / f".{path.name}.blocks"


def is_complete(output: LocalArrayIdentifier) -> bool:
    """Return whether an output was finished block by block, with whatever parameters, and is still there."""
    earlier = _read(record_folder(output))
    return earlier is not None and earlier.is_complete and earlier.fits_output()


def check_free(output: LocalArrayIdentifier, overwrite: bool, resume: bool) -> None:
    """Check early that an output may be written, as far as that can be told without the parameters.

    Raises:
        OutputExistsError: If it exists and must be kept.
    """
    if not resume or _read(record_folder(output)) is None:
        check_output(output, overwrite)


@attrs.define
class Record:
    """The record of the making of an output.

    Attributes:
        output: What is made.
        parameters: What defines the result.
        blocks: How it is cut into blocks.
        id: Tells this making of the output from others; also among the attributes of the output.
        created: Whether the output has been created.
        has_array: Whether the output is an array.
        into_existing: Whether the output is an array that was there before, so that more may be in it.
    """

    output: LocalArrayIdentifier
    parameters: dict[str, Any]
    blocks: dict[str, Any]
    id: str = attrs.field(factory=lambda: secrets.token_hex(8))
    created: bool = False
    has_array: bool = False
    into_existing: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the record; operations may keep what lies between their passes there, too."""
        return record_folder(self.output)

    @property
    def log_dir(self) -> Path:
        """Folder for logs."""
        return self.folder / _LOGS

    @property
    def is_complete(self) -> bool:
        """Whether all is done."""
        return (self.folder / _COMPLETE).exists()

    def tracking(self, name: str) -> Path:
        """Return the folder for Daisy's marks of one operation."""
        return self.folder / name

    def fits_output(self) -> bool:
        """Whether the output that is there now is the one that this record is about."""
        if not self.created or not self.has_array:
            return self.created
        return (self.output.container / self.output.dataset).exists() and _record_id(self.output) == self.id

    def create(self, create_output: Callable[[], object]) -> None:
        """Create the output, unless an earlier call has."""
        if self.created:
            return
        try:
            create_output()
        except BaseException:
            self.forget()
            raise
        self.has_array = (self.output.container / self.output.dataset).exists()
        if self.has_array:
            ZarrArray.open_from_array_identifier(self.output).add_metadata({RECORD_ID: self.id})
        self.created = True
        self.save()

    def save(self) -> None:
        """Write down what the record is about.

        Raises:
            StorageError: If that fails.
        """
        content = attrs.asdict(self, recurse=False, filter=lambda field, _: field.name != "output")
        partial = self.folder / f"{_PARAMETERS}.partial"
        try:
            partial.write_text(json.dumps(content, indent=1), encoding="utf-8")
            partial.replace(self.folder / _PARAMETERS)
        except OSError as error:
            raise StorageError(f"cannot write {partial}: {error}") from error

    def complete(self) -> None:
        """Write down that all is done."""
        shutil.rmtree(self.log_dir, ignore_errors=True)
        (self.folder / _COMPLETE).touch()

    def forget(self) -> None:
        """Delete the record, but not the output."""
        _remove(self.output)


def marks_of(folder: Path | str, parameters: Mapping[str, Any]) -> Path:
    """Return where, inside a folder, the marks are of blocks that are done with certain parameters.

    Raises:
        OutputExistsError: If the folder is about other parameters.
        StorageError: If it cannot be written.
    """
    file, given = Path(folder) / _PARAMETERS, json.loads(json.dumps(parameters))
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(given, indent=1), encoding="utf-8")
        changed = _differences(json.loads(file.read_text(encoding="utf-8")), given)
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot use {file}: {error}") from error
    if changed:
        raise OutputExistsError(_why_kept(Path(folder), changed))
    return Path(folder) / "marks"


def _remove(output: LocalArrayIdentifier) -> None:
    """Delete a record, and the folders around it if nothing else is in them."""
    folder = record_folder(output)
    shutil.rmtree(folder, ignore_errors=True)
    with suppress(OSError):
        for above in folder.parents:
            above.rmdir()
            if above == output.container:
                break


def _read(folder: Path) -> Record | None:
    """Return the record in a folder, None if there is none that can be read."""
    try:
        content = json.loads((folder / _PARAMETERS).read_text(encoding="utf-8"))
        name = folder.name.removeprefix(".").removesuffix(".blocks")
        return Record(output=LocalArrayIdentifier(folder.parent, name), **content)
    except (OSError, ValueError, TypeError):
        return None  # as good as none: the work begins anew, where the output may be replaced


@contextmanager
def open_record(
    output: LocalArrayIdentifier,
    parameters: Mapping[str, Any],
    blocks: Mapping[str, Any],
    *,
    overwrite: bool,
    resume: Resume,
    fixed_blocks: bool = False,
    into_existing: bool | None = False,
    check: Callable[[], object] | None = None,
) -> Iterator[Record]:
    """Find out what of an output is done, and hold it against other processes.

    Args:
        output: What is to be made.
        parameters: What defines the result, as JSON can hold it.
        blocks: How it is cut into blocks. The record that is returned may have others, those of the earlier work.
        overwrite: Whether to replace an output of other parameters, if this package wrote it.
        resume: What becomes of earlier work with the same parameters.
        fixed_blocks: Whether other blocks count as other parameters.
        into_existing: Whether blocks are written into an array that is there, instead of a new one. None does so where
            it is not the result of other work of this package, True also where such work is finished.
        check: Called before that is done; it raises where the array does not fit.

    Returns:
        The record. If it ``is_complete`` there is nothing to do, otherwise its ``create`` comes first.

    Raises:
        OutputExistsError: If the output exists and must be kept.
        BlockwiseError: If another process works on it.
        StorageError: If nothing can be written there.
    """
    given = Record(output, *(json.loads(json.dumps(part)) for part in (parameters, blocks)))
    folder = given.folder
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot create {folder}: {error}") from error
    with _locked(folder):
        try:
            record = _continued(given, overwrite, resume, fixed_blocks, into_existing)
            if record is None and given.into_existing and check is not None:
                check()  # now, since what is known of earlier work is forgotten next
        except DacapoError:
            if not existed:
                _remove(output)
            raise
        if record is None:
            for child in sorted(folder.iterdir(), key=lambda child: child.name != _PARAMETERS):
                shutil.rmtree(child) if child.is_dir() else child.unlink()
            record = given
            record.save()
        shutil.rmtree(record.log_dir, ignore_errors=True)  # they are about an earlier call
        yield record


def _continued(
    given: Record, overwrite: bool, resume: Resume, fixed_blocks: bool, into_existing: bool | None
) -> Record | None:
    """Return the record of the earlier work that goes on, None to begin anew.

    Args:
        given: What is to be done. It gets to know whether that is written into an array that is there.
        overwrite: See :func:`open_record`, as for the others.
        resume: What becomes of earlier work.
        fixed_blocks: Whether other blocks count as other parameters.
        into_existing: Whether blocks are written into an array that is there.

    Raises:
        OutputExistsError: If neither may be done.
    """
    earlier = _read(given.folder)
    path = given.output.container / given.output.dataset
    if earlier is not None and not earlier.created and not earlier.into_existing and _is_untouched(earlier):
        return None  # interrupted between creating the output and writing that down
    if earlier is None or not earlier.fits_output():
        if path.exists():
            made_by = _record_id(given.output)
            is_other_work = made_by is not None and (earlier is None or made_by != earlier.id)
            given.into_existing = not is_other_work if into_existing is None else into_existing
            if not given.into_existing:
                check_output(given.output, overwrite)
        return None
    changed = _differences(earlier.parameters, given.parameters)
    if fixed_blocks:
        changed = list(dict.fromkeys([*changed, *_differences(earlier.blocks, given.blocks)]))
    if not changed and (resume is Resume.ALWAYS or (resume is Resume.UNFINISHED and not earlier.is_complete)):
        earlier.output = given.output
        return earlier
    same_operation = earlier.parameters.get(CLASS_KEY) == given.parameters.get(CLASS_KEY)
    if into_existing and earlier.is_complete and same_operation:
        given.into_existing = True
        return None
    if not overwrite:
        raise OutputExistsError(_why_kept(path, changed))
    if earlier.has_array:
        check_output(given.output, overwrite)
    return None


def _why_kept(path: Path, changed: list[str]) -> str:
    if not changed:
        return f"{path} exists already; name another output or allow overwriting"
    more = f" and {len(changed) - _LISTED} more" if len(changed) > _LISTED else ""
    return (
        f"{path} was begun with other parameters, so work on it cannot go on: {'; '.join(changed[:_LISTED])}{more}; "
        "repeat the earlier call, name another place, or allow overwriting (or delete it) to start anew"
    )


def _record_id(output: LocalArrayIdentifier) -> str | None:
    """Return the id of the record of an array, None if it was made without."""
    found: str | None = ZarrArray.open_from_array_identifier(output, mode="r").attrs.get(RECORD_ID)
    return found


def _is_untouched(record: Record) -> bool:
    """Return whether an output is not there, or as it was created for a record that does not know of it yet."""
    path = record.output.container / record.output.dataset
    if not path.exists():
        return True
    data = ZarrArray.open_from_array_identifier(record.output, mode="r").data
    return _record_id(record.output) == record.id or not getattr(data, "nchunks_initialized", 1)


def _differences(before: Any, now: Any, name: str = "") -> list[str]:
    """Return a text for each value that differs between two trees of dicts."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            text
            for key in {**before, **now}
            for text in _differences(before.get(key), now.get(key), f"{name}.{key}".removeprefix("."))
        ]
    return [] if before == now else [f"{name} was {_short(before)}, is {_short(now)}"]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder against other processes.

    Raises:
        BlockwiseError: If another one holds it.
    """
    import fcntl

    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise BlockwiseError(
                    f"another process works on this output; wait for it or end it ({folder} is locked)"
                ) from error
            # A file system without locks: nothing is held then.
        yield
    finally:
        os.close(handle)
