"""Commands without the 10 CPU seconds of imports: forked from a server that has imported everything.

Tests start them through `killing.Command` and `commands.run`. Lightning starts its second rank, and a sweep
its jobs, with `sys.executable`, which is then `interpreter()`: a small program that hands its arguments,
environment, files and cores to the server, forwards signals, and ends as the forked process does. If it is
killed, so is that process.
"""

import atexit
import json
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from pathlib import Path
from tempfile import mkdtemp

from pytorch_lightning.utilities import rank_zero_only

ROOT = Path(__file__).resolve().parents[1]
GRADIO = Path("src/app_page/page.py")
"""Imports a server of 4 CPU seconds, which no command needs that tests fork."""
PRELOADED = sorted(
    ".".join(file.relative_to(ROOT).with_suffix("").parts)
    for file in (ROOT / "src").rglob("*.py")
    if file.stem != "__main__" and file.relative_to(ROOT) != GRADIO
)
"""All of src, as commands import much of it only when their arguments are checked."""
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([*PRELOADED, "torch.optim.adamw", "tensorboard"])

PROGRAM = """#!{python} -SE
import json, os, signal, socket, sys

arguments = sys.argv[1:]
if arguments[0] != "-m" or not arguments[1].startswith("src."):
    os.execv({python!r}, [{python!r}, *arguments])
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
request = json.dumps([arguments[1:], dict(os.environ), os.getcwd(), cores]).encode()
socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
server.sendall(request)
worker = int.from_bytes(server.recv(8), "big")

def forward(number, frame):
    try:
        os.killpg(worker, number)
    except ProcessLookupError:
        pass

for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, forward)
code = int.from_bytes(server.recv(8), "big", signed=True)
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
os._exit(code)
"""


@cache
def interpreter() -> str:
    """The path of a program that does what Python does, faster for `-m src...`; its server lives as long as
    this process.
    """
    folder = Path(mkdtemp(prefix="warm"))
    program, address = folder / "python", str(folder / "server")
    program.write_text(PROGRAM.format(python=sys.executable, address=address))
    program.chmod(0o755)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    CONTEXT.Process(target=_serve, args=(listener, str(program)), daemon=True).start()
    listener.close()
    return str(program)


def become_command(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], executable: str
) -> None:
    """Do what `python -m <module> <arguments>` does, in this forked process."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in background jobs
    os.environ.clear()
    os.environ.update(environment)
    rank_zero_only.rank = int(environment.get("LOCAL_RANK", 0))  # read when Lightning is imported
    multiprocessing.set_start_method("fork", force=True)  # as in a command that was not started by us
    sys.executable = executable
    sys.argv = [module, *arguments]
    warnings.filterwarnings("ignore", f"'{module}' found in sys.modules", RuntimeWarning)  # it is preloaded
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _serve(listener: socket.socket, program: str) -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps those who watch
    while parent.sentinel not in wait([listener, parent.sentinel]):
        connection, _ = listener.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listener.close()
            _watch(connection, program)
            os._exit(0)
        connection.close()


def _watch(connection: socket.socket, program: str) -> None:
    """Fork a worker and report its exit code; kill it if its program is gone."""
    header, files, *_ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read(int.from_bytes(header, "big")))
    worker = os.fork()
    if worker == 0:
        os.setpgrp()
        connection.close()
        os._exit(_work(files, *request, program))
    for file in files:
        os.close(file)
    with suppress(PermissionError):
        os.setpgid(worker, worker)
    connection.sendall(worker.to_bytes(8, "big"))

    def kill_with_program() -> None:
        with suppress(OSError):
            if not connection.recv(1):
                os.killpg(worker, signal.SIGKILL)

    threading.Thread(target=kill_with_program, daemon=True).start()
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with suppress(ProcessLookupError):
        os.killpg(worker, signal.SIGKILL)
    with suppress(OSError):
        connection.sendall(code.to_bytes(8, "big", signed=True))


def _work(
    files: list[int],
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
    cores: list[int],
    program: str,
) -> int:
    """The exit code of a command in this process."""
    atexit._clear()  # what the server would do at its own end
    multiprocessing.current_process().daemon = False  # which the server is; a daemon may have no children
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    if cores:
        os.sched_setaffinity(0, cores)
    code: object = 1
    try:
        become_command(arguments[0], arguments[1:], environment, program)
        code = 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001  # as an interpreter ends
        sys.excepthook(*sys.exc_info())
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else 1
