"""Opening the journal of an output: resuming earlier work, starting over, or refusing to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dacapo.blockwise.journal.differences import differences, why_kept
from dacapo.blockwise.journal.identity import CLASS_KEY, journal_id
from dacapo.blockwise.journal.journal import PARAMETERS, Journal, Resume
from dacapo.blockwise.journal.lock import locked
from dacapo.blockwise.outputs import check_output, output_exists
from dacapo.errors import DacapoError, DamagedFileError, OutputExistsError, StorageError
from dacapo.experiments.datasplits.datasets.arrays.remote_files import check_writable_place
from dacapo.store.array_store import LocalArrayIdentifier
from dacapo.store.files import is_file, is_folder, make_folder, read_text, write_text
from dacapo.store.folders import remove_folder
from dacapo.utils.plain_json import parse_json


def check_free(output: LocalArrayIdentifier, overwrite: bool, resume: bool) -> None:
    """Check early whether an output may be written, as far as possible without the parameters.

    Raises:
        OutputExistsError: If it exists and must be kept.
    """
    if not resume or Journal.read(output) is None:
        check_output(output, overwrite)


@contextmanager
def open_journal(
    output: LocalArrayIdentifier,
    parameters: Mapping[str, Any],
    blocks: Mapping[str, Any],
    *,
    overwrite: bool,
    resume: Resume,
    fixed_blocks: bool = False,
    into_existing: bool | None = False,
    check: Callable[[], object] | None = None,
) -> Iterator[Journal]:
    """Find out which part of an output is done, and lock it against other processes.

    Args:
        output: The array to make.
        parameters: Everything that defines the result, as JSON can hold it.
        blocks: How the region is cut into blocks. The journal that is returned keeps those of earlier work.
        overwrite: Whether to replace an output of other parameters, provided that this package wrote it.
        resume: How to treat earlier work with the same parameters.
        fixed_blocks: Whether other blocks count as other parameters.
        into_existing: Whether to write into an array that exists, instead of creating one. None does so unless other
            work of this package made the array; True does so even then, once that work is finished.
        check: Called before writing into an existing array; raises if the array does not fit.

    Yields:
        The journal. Nothing is left to do if it ``is_complete``; otherwise call its ``create`` first.

    Raises:
        OutputExistsError: If the output exists and must be kept.
        BlockwiseError: If another process works on it.
        StorageError: If nothing can be written there.
        ConfigError: If it is at a URL that cannot be written.
    """
    check_writable_place(output.container)
    given = Journal(output, *(json.loads(json.dumps(part)) for part in (parameters, blocks)))
    folder = given.folder
    existed = is_folder(folder)
    make_folder(folder)
    with locked(folder):
        try:
            journal = _resumed(given, overwrite, resume, fixed_blocks, into_existing)
            if journal is None and given.into_existing and check is not None:
                check()  # before the journal of earlier work is deleted
        except DacapoError:
            if not existed:
                given.forget()
            raise
        if journal is None:
            given.clear()
            journal = given
            journal.save()
        remove_folder(journal.log_dir)  # of an earlier call
        yield journal


def _resumed(
    given: Journal, overwrite: bool, resume: Resume, fixed_blocks: bool, into_existing: bool | None
) -> Journal | None:
    """Return the journal of the work to resume, None to start over; see :func:`open_journal` for the arguments.

    Starting over sets ``given.into_existing``.

    Raises:
        OutputExistsError: If neither is allowed.
    """
    earlier = Journal.read(given.output)
    if earlier is not None and not earlier.created and not earlier.into_existing and earlier.is_untouched():
        return None
    if earlier is None or not earlier.fits_output():
        if output_exists(given.output):
            _check_foreign(given, earlier, overwrite, into_existing)
        return None
    changed = differences(earlier.parameters, given.parameters)
    if fixed_blocks:
        changed = list(dict.fromkeys([*changed, *differences(earlier.blocks, given.blocks)]))
    if not changed and (resume is Resume.ALWAYS or (resume is Resume.UNFINISHED and not earlier.is_complete)):
        return earlier
    same_operation = earlier.parameters.get(CLASS_KEY) == given.parameters.get(CLASS_KEY)
    if into_existing and earlier.is_complete and same_operation:
        given.into_existing = True
        return None
    if not overwrite:
        raise OutputExistsError(why_kept(given.path, changed))
    if earlier.has_array:
        check_output(given.output, overwrite)
    return None


def _check_foreign(given: Journal, earlier: Journal | None, overwrite: bool, into_existing: bool | None) -> None:
    """Decide between writing into an existing array that no journal here describes, and replacing it.

    Raises:
        OutputExistsError: If neither is allowed.
    """
    made_by = journal_id(given.output)
    is_other_work = made_by is not None and (earlier is None or made_by != earlier.id)
    given.into_existing = not is_other_work if into_existing is None else into_existing
    if not given.into_existing:
        check_output(given.output, overwrite)


def check_same_work(folder: Path | str, parameters: Mapping[str, Any]) -> None:
    """Check that a folder for done markers belongs to the same work; a new folder remembers the parameters.

    Raises:
        OutputExistsError: If it belongs to other parameters.
        StorageError: If it cannot be written.
    """
    file, given = Path(folder) / PARAMETERS, json.loads(json.dumps(parameters))
    try:
        if not is_file(file):
            write_text(file, json.dumps(given, indent=1))
        changed = differences(parse_json(read_text(file)), given)
    except StorageError:
        raise
    except ValueError as error:
        raise DamagedFileError(f"cannot use {file}: {error}") from error
    if changed:
        raise OutputExistsError(why_kept(Path(folder), changed))
