"""A folder takes one process at a time, and is free as soon as that one is gone."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from src.files import alone_in, claim, digest, is_written

HOLDER = """
import os, sys, time
from pathlib import Path
from src.files import alone_in, claim, digest, is_written
with alone_in(Path(sys.argv[1]), "training"):
    child = os.fork()  # as a training's data workers are
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


def test_a_folder_takes_one_process_and_is_free_when_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            refused = pytest.raises(ValueError, match=rf"process {holder.pid} is training in {tmp_path}")
            with refused, alone_in(tmp_path, "training"):
                raise AssertionError("two in one folder")
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            os.kill(child, 0)  # lives on, and holds nothing
            with alone_in(tmp_path, "training"):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


def test_where_files_cannot_be_locked_it_is_said_and_work_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def without_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")  # as NFS without its lock daemon

    monkeypatch.setattr(fcntl, "lockf", without_locks)
    with alone_in(tmp_path, "training"):
        assert "nothing keeps a second process from training there" in capsys.readouterr().err


def test_a_claimed_folder_keeps_the_first_request(tmp_path: Path) -> None:
    path = tmp_path / "new" / "request.json"
    assert claim(path, {"count": 1}) == {"count": 1}
    (path.parent / "data.txt").write_text("made for it")
    assert claim(path, {"count": 2}) == {"count": 1}
    path.write_text("{")
    with pytest.raises(ValueError, match=r"request\.json is broken"):
        claim(path, {"count": 1})


def test_a_folder_with_other_files_is_not_claimed(tmp_path: Path) -> None:
    (tmp_path / f".request.json.{os.getpid()}.partial").write_text("being written by another process")
    claim(tmp_path / "request.json", {})
    (tmp_path / "request.json").unlink()
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something already"):
        claim(tmp_path / "request.json", {})
    assert claim(tmp_path / "request.json", {"count": 1}, in_new_folder=False) == {"count": 1}


def test_digest_and_presence_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert not is_written(path)
    path.write_bytes(b"")
    assert not is_written(path)
    path.write_bytes(b"abc")
    assert is_written(path)
    assert digest(path).startswith("ba7816bf8f01cfea")
