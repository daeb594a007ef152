"""How every entry point starts: its arguments composed and checked, its errors one line.

    if __name__ == "__main__":
        launch.entry_point(main, "train")

An error is one stderr line beginning `error: ` and exit code 1; set MULTI_REWARD_TRACEBACK=1 to see the
stack.

An entry point imports torch and other heavy libraries inside `main`, after it has checked its arguments:
importing them takes ten times as long as composing a config, and `--help`, a misspelt key or a missing value
need none of them (experiments/startup.py measures it).
"""

import os
import re
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, final

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import (
    InterpolationToMissingValueError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from src import (
    resolvers,  # noqa: F401  # registers what configs call
    slurm,
)
from src.command_line import quoted_arguments
from src.files import NotWrittenError
from src.missing_settings import CONF, missing_settings, request_for
from src.renamed_keys import check_renamed
from src.settings.help_page import asks_for_help, help_page
from src.settings.refusals import check_form, composed_settings, explained, with_full_names
from src.settings.refused_runs import RunFolder
from src.settings.value_types import check_types
from src.sweeps.launcher import SweepableTask, SweepInterface, register_launcher
from src.sweeps.running import JobsFailed

TRACEBACK = "MULTI_REWARD_TRACEBACK"

LONGEST_WARNING = 240

LESS_AT_ONCE = (
    "have less in it at once: in a training data.batch_size halved and trainer.accumulate_grad_batches "
    "doubled (the same steps), model.backbone.gradient_checkpointing=true or trainer.precision=bf16-mixed; "
    "in an evaluation or in editing a smaller batch_size or images of fewer pixels (sampler.resize)"
)
"""What to change where the memory does not suffice."""

Task = Callable[[DictConfig], None]


@final
class WarningLines:
    """Shows warnings of libraries as one line each, those of one kind (equal but for numbers and quoted
    texts) once.
    """

    def __init__(self) -> None:
        self.shown: set[str] = set()

    def show(self, message: Warning | str, *_: object, **__: object) -> None:
        """Print it; in place of `warnings.showwarning`."""
        text = " ".join(str(message).split())
        kind = re.sub(r"'.*'|\".*\"|\d+", "", text)
        if kind not in self.shown:
            self.shown.add(kind)
            print(f"warning: {text[:LONGEST_WARNING]}", file=sys.stderr, flush=True)


@final
class Interrupted(Exception):  # noqa: N818  # nothing went wrong
    """Raised when the user interrupts a task; the message says how to resume."""


def entry_point(task: Task, config_name: str, sweeps: SweepInterface | None = None) -> None:
    """Run `task(cfg)` as a Hydra app on `conf/<config_name>.yaml`; errors become one line and exit code 1.

    Args:
        task: what to do.
        config_name: of the entry point, `src.<config_name>`.
        sweeps: what a sweep of it needs to know; None: a job depends on its whole config.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises instead of printing a screenful of its own
    with warnings.catch_warnings():
        warnings.showwarning = WarningLines().show
        _run(task, config_name, sweeps)


def _run(task: Task, config_name: str, sweeps: SweepInterface | None) -> None:
    errors: list[Exception] = []
    RunFolder.current = None

    def run(cfg: DictConfig) -> None:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise ValueError(f"src.{config_name} has no sweeps: run it once for each value")
        try:
            check_types(cfg, config_name)
            task(cfg)
        except Exception as error:  # noqa: BLE001  # raised below, outside of Hydra, which prints its own
            is_missing = isinstance(_cause(error), MissingMandatoryValue | InterpolationToMissingValueError)
            names = missing_settings(cfg) if is_missing else []
            errors.append(ValueError(request_for(names)) if names else error)

    try:
        with ending_unread():
            if asks_for_help(sys.argv[1:]):
                print(help_page(config_name, sys.argv[1:]))
                return
            check_renamed(config_name, sys.argv[1:])
            check_form(config_name, sys.argv[1:])
            # for Hydra, and for the processes and jobs that repeat this command
            sys.argv[1:] = quoted_arguments(config_name, sys.argv[1:])
            register_launcher()
            known = sweeps or SweepInterface()
            checked = replace(known, depends_on=_checked(known.depends_on, config_name))
            sweepable = SweepableTask(config_name, run, _check_evaluation, checked)
            hydra.main(version_base="1.3", config_path=str(CONF), config_name=config_name)(sweepable)()
            if errors:
                raise errors[0]
    except KeyboardInterrupt:
        fail("interrupted; what was written so far is kept, the same command goes on")
    except Exception as error:  # noqa: BLE001  # the one place where every error becomes one line
        if os.environ.get(TRACEBACK):
            traceback.print_exc()
        if RunFolder.current is not None and is_first_process():
            RunFolder.current.restore()
        told = explained(error, config_name, sys.argv[1:])
        fail(one_line(with_full_names(told, config_name, sys.argv[1:])))


@contextmanager
def ending_unread() -> Iterator[None]:
    """End without a word, as other programs do, where nobody reads the output any more (`--help | head`).
    Other pipes that break are errors.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        output = select.poll()
        output.register(sys.stdout.fileno(), 0)
        if not output.poll(0):  # which tells of errors alone
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end
        sys.exit(128 + signal.SIGPIPE)


def _checked(
    depends_on: Callable[[DictConfig], Mapping[str, Any]], config_name: str
) -> Callable[[DictConfig], Mapping[str, Any]]:
    """What a job depends on, asked after its values are known to be of the right kind: before any begins."""

    def checked(cfg: DictConfig) -> Mapping[str, Any]:
        check_types(cfg, config_name)
        return depends_on(cfg)

    return checked


def script(task: Callable[[Sequence[str]], None]) -> None:
    """Run a program that reads its own arguments, without Hydra; what bad input causes becomes one line and
    exit code 1.
    """
    try:
        task(sys.argv[1:])
    except (ValueError, FileNotFoundError, NotWrittenError) as error:
        if os.environ.get(TRACEBACK):
            raise
        fail(one_line(error))


def composed(config_name: str, *overrides: str) -> DictConfig:
    """The config that the entry point `config_name` would get with these overrides, for an entry point that
    needs a node of another one's.

    Raises:
        ValueError: overrides that don't compose, or values of the wrong kind.
    """
    check_renamed(config_name, overrides)
    try:
        cfg = composed_settings(config_name, overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise explained(error, config_name, overrides) from error
    check_types(cfg, config_name)
    return cfg


def fail(message: str) -> None:
    """Print the error line and exit with code 1; of several processes, only the first one's begins with
    "error: ".
    """
    sys.stdout.flush()
    said = f"error: {message}" if is_first_process() else f"rank {process_rank()}: {message}"
    print(said, file=sys.stderr, flush=True)
    sys.exit(1)


def process_rank() -> str:
    """The rank of this process, as torchrun, SLURM or Lightning have said it."""
    ranks = (os.environ[name] for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ)
    return next(ranks, "0")


def is_first_process() -> bool:
    """Whether this process speaks for all."""
    return process_rank() == "0"


def fail_at_once(message: str) -> None:
    """`fail` from a thread, where the process itself hangs and can't be unwound."""
    try:
        fail(message)
    finally:
        os._exit(1)


def check_shared_folder() -> None:
    """Raise ValueError if torchrun or srun started several processes, each of which would take a time-stamped
    run folder of its own.
    """
    is_torchrun = "TORCHELASTIC_RUN_ID" in os.environ
    processes = int(os.environ.get("WORLD_SIZE", "1")) if is_torchrun else slurm.processes()
    if processes > 1 and not has_fixed_folder():
        raise ValueError(
            f"{processes} processes were started, each of which would take a run folder of its own: "
            "give hydra.run.dir=RUN"
        )


def has_fixed_folder() -> bool:
    """Whether the same command would run in the same folder."""
    return any(override.startswith("hydra.run.dir=") for override in HydraConfig.get().overrides.hydra)


def check_whole_numbers(cfg: DictConfig, least: Mapping[str, int | None]) -> None:
    """Raise ValueError unless settings, by their dotted names, are whole numbers of at least this; None for
    any.
    """
    for name, bound in least.items():
        value = OmegaConf.select(cfg, name)
        if isinstance(value, bool) or not isinstance(value, int) or (bound is not None and value < bound):
            at_least = "" if bound is None else f", at least {bound},"
            raise ValueError(f"{name}={value}: a whole number{at_least} is needed")


def one_line(error: BaseException) -> str:
    """The message of an error as one line, without the wrapping of Hydra and of torch's workers."""
    error = _cause(error)
    text = str(error)
    if is_out_of_memory(error):
        return f"out of memory ({' '.join(text.split())[:160]}): {LESS_AT_ONCE}"
    if re.match(r"Caught \w+ in DataLoader worker", text):
        # a worker's error arrives as the same type with the whole stack as its message; the last line is the
        # original message
        text = text.rstrip().splitlines()[-1].partition(": ")[2]
    message = " ".join(text.split()) or type(error).__name__
    # our own messages are complete sentences; those of libraries often need their type ("KeyError: 'x'")
    complete = (ValueError, FileNotFoundError, NotWrittenError, Interrupted, JobsFailed, HydraException)
    return message if isinstance(error, complete) else f"{type(error).__name__}: {message}"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the memory of the machine or of its GPU did not suffice."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, MemoryError) or (
        "RuntimeError" in names
        and bool(
            names & {"OutOfMemoryError"} or re.search(r"can't allocate memory|out of memory", str(error))
        )
    )


def _cause(error: BaseException) -> BaseException:
    """What Hydra wraps when it instantiates, or the error itself."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _check_evaluation(overrides: Sequence[str]) -> None:
    composed("evaluate", *overrides)
