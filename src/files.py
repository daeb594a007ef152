"""Atomic files: written beside their target, flushed to disk, renamed into place.

A kill at any moment, or a full disk, leaves the old file or none, and no partial file beside it.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, final

SUFFIX = ".partial"
LOCK = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of file systems without locks, such as some network file systems."""

NO_ROOM = (0, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of full disks, and those without a number."""

UMASK = os.umask(0)
os.umask(UMASK)  # it can only be read by setting it


@final
class NotWrittenError(OSError):
    """A file could not be written and is unchanged. The message is a complete sentence."""


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name; what was written there replaces `path` if the block ends without an error, and
    is removed otherwise.

        with replacing(path) as partial:
            partial.write_bytes(content)

    Args:
        path: the target; its folder is created if missing.
        durable: wait several milliseconds for the disk, so that a loss of power can't leave an empty file (a
            kill never can).

    Raises:
        NotWrittenError: the disk is full, or the folder isn't writable.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}{SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _readable_as_usual(partial)
        if durable:
            _force_to_disk(partial)
        partial.replace(path)
        if durable:
            _force_to_disk(path.parent)  # the rename itself
    except NotWrittenError as error:
        # about a file in a folder that is written as a whole: give it its final name
        raise NotWrittenError(str(error).replace(str(partial), str(path))) from error
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        _remove(partial)


def not_written(path: Path, error: Exception) -> NotWrittenError:
    """The error that names the file and the reason."""
    if isinstance(error, NotWrittenError):
        return error
    reason = (
        error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0][:120]
    )
    number = error.errno if isinstance(error, OSError) else 0
    remedy = "make room" if (number or 0) in NO_ROOM else "mend that, or write to another folder,"
    return NotWrittenError(
        f"{path} could not be written ({reason}); what was there before is unchanged, {remedy} and start "
        "again"
    )


def can_lock(folder: Path) -> bool:
    """Whether files in a folder can be locked; some network file systems have no locks.

    Raises:
        NotWrittenError: no file can be written there.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS:
            return False
        raise not_written(folder, error) from error
    return True


def _lock_if_possible(file: IO[Any]) -> None:
    """Wait for a file's lock, which is held until the file is closed or its process killed; where there are
    no locks, go on without.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that a reader, a kill or a full disk leaves either the old or the new one.

    Raises:
        NotWrittenError: the file cannot be written.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def append_lines(path: Path, lines: str) -> None:
    """Append whole lines and return when they are on disk; several processes may do so at once.

    Raises:
        NotWrittenError: the disk is full; the file is as it was before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            _lock_if_possible(file)  # so that truncating below affects our lines only
            before = os.fstat(file.fileno()).st_size
            try:
                rest = lines.encode()
                while rest:  # an almost full disk accepts a part
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError:
                os.truncate(path, before)
                raise
    except OSError as error:
        raise not_written(path, error) from error


def whole_lines(path: Path) -> int:
    """The number of whole lines in a file, after cutting off one torn by a kill; 0 for no file."""
    if not path.exists():
        return 0
    count = whole = end = 0
    with path.open("rb") as file:
        for line in file:
            end += len(line)
            if line.endswith(b"\n"):
                count, whole = count + 1, end
    if whole < end:
        os.truncate(path, whole)
    return count


def digest(path: Path) -> str:
    """sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_written(path: Path) -> bool:
    """Whether a file exists and is not empty, as a loss of power can leave a renamed one."""
    return path.exists() and path.stat().st_size > 0


def claim(path: Path, request: Mapping[str, Any], in_new_folder: bool = True) -> dict[str, Any]:
    """Record the request that a folder is made for, unless it has one.

    Several processes may claim a folder at once, all with the same request.

    Args:
        path: the JSON file in the folder that holds the request.
        request: JSON-able, everything that the folder's content depends on.
        in_new_folder: refuse a folder that holds other files but no request.

    Returns:
        The request that the file holds, for the caller to compare with its own.

    Raises:
        ValueError: other files, or a file that is not JSON.
        NotWrittenError: the folder can't be written to.
    """
    if not path.exists():
        if in_new_folder and _holds_others(path) and not path.exists():  # another may just have been faster
            raise ValueError(f"{path.parent} holds something already: give a new or an empty folder")
        write_atomically(path, json.dumps(request, indent=2) + "\n")
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is broken ({error}): give another folder") from error
    if not isinstance(recorded, dict):
        raise ValueError(f"{path} is broken, it holds {str(recorded)[:60]}: give another folder")
    return recorded


def _holds_others(path: Path) -> bool:
    """Whether anything but a half-written file of this name lies in its folder, or in the folder's place."""
    folder = path.parent
    if not folder.exists():
        return False
    return not folder.is_dir() or any(
        not other.match(f".{path.name}.*{SUFFIX}") for other in folder.iterdir()
    )


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Hold a lock on a folder while a file in it is read, changed and written; waits for other holders."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as file:
        _lock_if_possible(file)
        yield


@contextmanager
def alone_in(folder: Path, doing: str) -> Iterator[None]:
    """Be the only process that works in a folder; released when the process ends, however it ends.

    Forked children do not inherit the lock: the data workers of a killed training live on for seconds and
    must not keep it.

    Args:
        folder: created if missing.
        doing: what a process does there ("running the sweep"), for the error of a second process.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:  # POSIX allows either
            file.seek(0)
            raise ValueError(
                f"process {file.read().strip() or 'unknown'} is {doing} in {folder}; wait for it, or stop it "
                "first"
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            print(
                f"warning: {folder} lies where files can't be locked, so nothing keeps a second process from "
                f"{doing} there",
                file=sys.stderr,
            )
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def discard(folder: Path) -> None:
    """Remove a folder atomically: it is renamed first, so that a kill can't leave a part that looks whole."""
    aside = folder.with_name(f".{folder.name}.{os.getpid()}{SUFFIX}")
    folder.replace(aside)
    shutil.rmtree(aside)


def remove_leftovers(folder: Path, below: bool = False) -> None:
    """Remove partial files of killed processes from a folder, and with `below` from its subfolders; files
    that a living process of this machine is writing stay.
    """
    for partial in list(folder.glob(f"{'**/' if below else ''}.*{SUFFIX}")):
        owner = partial.name.removesuffix(SUFFIX).rpartition(".")[2]
        if owner.isdigit() and not _writing(int(owner)):
            _remove(partial)


def _writing(process: int) -> bool:
    """Whether another living process has this number; a file with our own number is left from a predecessor,
    as this process has written none yet.
    """
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _readable_as_usual(path: Path) -> None:
    """Make a file, or those of a folder, readable as the umask allows: safetensors creates files that only
    their owner can open.
    """
    usual = 0o666 & ~UMASK
    for file in path.rglob("*") if path.is_dir() else (path,):
        if file.is_file() and not file.is_symlink() and file.stat().st_mode & usual != usual:
            file.chmod(file.stat().st_mode | usual)


def _force_to_disk(path: Path) -> None:
    """Return when a file, or the entries of a folder, are safe from a loss of power."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    try:
        if path.is_dir():
            shutil.rmtree(path)
            return
        path.unlink(missing_ok=True)
    except OSError:  # the error that brought us here says more
        return
