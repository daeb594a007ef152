"""Ask people which edits are better: a blind rating page over the edits of finished evaluations.

    python -m src.study runs=[runs/a,runs/b] output=runs/study
    python -m src.study runs=[A,B] names=[SmartEdit,Ours] benchmark=real_edit benchmark.folder=DIR cases=80
    python -m src.study runs=[A] questions=[scores]             # 0 to 5 in three perspectives, no comparison
    python -m src.study output=runs/study                       # a study that has begun goes on
    python -m src.study output=runs/study serve=false           # how far the raters are
    python -m src.study output=runs/study export=[answers.csv,answers.jsonl]
    python -m src.tabulate runs/study table=table3              # the paper's Table 3 of it

It prints an address with the study's token; give it to your raters. Each types a name, rates at their own
pace, in an own random order, and goes on under that name later. Who made an edit never reaches the page. The
folder `output` holds the study (study.json), the pictures that raters see, the token and every answer
(answers.jsonl), and needs neither the runs nor the benchmark any more.
"""

import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf

from src import launch
from src.differences import unlike_request
from src.files import alone_in, claim
from src.missing_settings import check_complete
from src.studies.study import COMPARED, QUESTIONS, Study, is_study, read_study, write_study

REQUEST = "request.json"
DECIDES = (
    *("runs", "names", "row", "benchmark", "questions", "compared", "cases", "limit", "per_rater"),
    *("repeats", "gold", "seed", "title"),
)
"""Settings that a study is made of; the others say how it is served."""

LOCAL = ("127.0.0.1", "::1", "localhost")


def main(cfg: DictConfig) -> None:
    """Begin a study or go on with it, and serve it; or only say how far it is, and export."""
    check_request(cfg)
    folder, exports = Path(cfg.output), export_files(cfg.export)
    if is_study(folder):
        check_same_study(folder, cfg)
    elif cfg.serve and not exports:
        begin_study(folder, cfg)
    if cfg.serve and not exports:
        with alone_in(folder, "serving the study"):
            serve(folder, cfg)
    report(folder, exports)


def check_request(cfg: DictConfig) -> None:
    """Raise an error for settings that no study can have, before anything is read."""
    from src.studies.export import check_formats
    from src.studies.order import rater_name

    check_formats(export_files(cfg.export))
    for name, known in (("questions", QUESTIONS), ("compared", COMPARED)):
        given = list(cfg[name])
        if not given or not set(given) <= set(known) or len(set(given)) < len(given):
            raise ValueError(f"{name}={given}: choose from {', '.join(known)}, each once")
    launch.check_whole_numbers(cfg, {"seed": None, "repeats": 0, "gold.number": 0, "port": 0})
    counts = {name: 1 for name in ("cases", "limit", "per_rater") if cfg[name] is not None}
    launch.check_whole_numbers(cfg, counts)
    for name in cfg.raters or ():
        rater_name(str(name))


def export_files(export: str | ListConfig | None) -> list[Path]:
    """The files to write."""
    names = [] if export is None else [export] if isinstance(export, str) else list(export)
    return [Path(name) for name in names]


def begin_study(folder: Path, cfg: DictConfig) -> None:
    """Choose, check, and write the study folder.

    Raises:
        FileNotFoundError: a run, an edit or a picture that is not there.
        ValueError: settings that don't fit the runs or the benchmark.
    """
    from src.studies.preparation import plan_study, prepare_study
    from src.studies.systems import find_systems

    if len(cfg.runs) < 1 + ("pairs" in cfg.questions):
        raise ValueError(
            f"runs={list(cfg.runs)}: name two runs or more, as in runs=[runs/a,runs/b]; one is enough for "
            "questions=[scores]"
        )
    check_complete(cfg)
    benchmark = instantiate(OmegaConf.create(benchmark_settings(cfg)))
    names = None if cfg.names is None else list(map(str, cfg.names))
    systems = find_systems(list(cfg.runs), names, benchmark.name, str(cfg.row))
    plan = plan_study(benchmark, benchmark.cases()[: cfg.limit], systems, design_of(cfg))
    recorded = claim(folder / REQUEST, request_of(cfg))
    refuse_other(folder, recorded, request_of(cfg))
    write_study(folder, prepare_study(folder, benchmark, plan, systems, design_of(cfg)))
    for system in systems:
        print(f"compared    {system.name}: {system.made.edits}")
    for note in plan.notes:
        print(f"note: {note}", file=sys.stderr)


def design_of(cfg: DictConfig) -> Any:
    """The `Design` that the settings describe."""
    from src.studies.preparation import Design

    return Design(
        title=str(cfg.title),
        questions=tuple(name for name in QUESTIONS if name in cfg.questions),
        compared=tuple(cfg.compared),
        cases=cfg.cases,
        per_rater=cfg.per_rater,
        repeats=cfg.repeats,
        seed=cfg.seed,
        gold=cfg.gold.number,
        gold_file=None if cfg.gold.file is None else Path(cfg.gold.file),
    )


def benchmark_settings(cfg: DictConfig) -> dict[str, Any]:
    """The config of the benchmark without editors that nobody rates."""
    settings = OmegaConf.to_container(cfg.benchmark, resolve=True)
    assert isinstance(settings, dict)
    return {str(name): value for name, value in settings.items() if name != "ideals"}


def request_of(cfg: DictConfig) -> dict[str, Any]:
    """What the study is made of, as request.json keeps it."""
    plain = {name: cfg[name] for name in DECIDES if name not in ("runs", "benchmark", "gold")}
    settings = OmegaConf.to_container(OmegaConf.create(plain), resolve=True)
    assert isinstance(settings, dict)
    gold_file = None if cfg.gold.file is None else str(Path(cfg.gold.file).absolute())
    return {
        **{str(name): value for name, value in settings.items()},
        "runs": [str(Path(run).absolute()) for run in cfg.runs],
        "benchmark": benchmark_settings(cfg),
        "gold": {"number": cfg.gold.number, "file": gold_file},
    }


def check_same_study(folder: Path, cfg: DictConfig) -> None:
    """Raise ValueError if the command describes another study than the one in the folder: in full, or,
    without runs, by any setting that was given.
    """
    if cfg.runs:
        refuse_other(folder, claim(folder / REQUEST, {}), request_of(cfg))
        return
    given = HydraConfig.get().overrides.task if HydraConfig.initialized() else []
    names = [override.lstrip("+~").partition("=")[0] for override in given]
    decided = [name for name in names if name.partition(".")[0] in DECIDES]
    if decided:
        raise ValueError(
            f"{folder} has begun, and {decided[0]} can't be changed: leave it out, or give the whole command "
            "that began it, or another output="
        )


def refuse_other(folder: Path, recorded: Mapping[str, Any], requested: Mapping[str, Any]) -> None:
    """Raise ValueError if a study folder was made by other settings."""
    unlike = unlike_request(recorded, requested)
    if unlike:
        raise ValueError(
            f"{folder} holds another study ({'; '.join(unlike[:3])}): give another output=, or leave these "
            f"settings out with python -m src.study output={folder}"
        )


def serve(folder: Path, cfg: DictConfig) -> None:
    """Serve until interrupted.

    Raises:
        ValueError: the port is taken, or the address is not this machine's.
    """
    from aiohttp import web

    from src.studies.answers import AnswerFile
    from src.studies.server import StudyServer, token_of

    study = read_study(folder)
    names = None if cfg.raters is None else [str(name) for name in cfg.raters]
    server = StudyServer(folder, study, AnswerFile(folder, study), token_of(folder), names)
    listening = listen(str(cfg.host), cfg.port)
    with suppress(KeyboardInterrupt):  # Ctrl-C is how it ends, also before the server listens to signals
        announce(folder, study, str(cfg.host), listening, server.token)
        web.run_app(server.application(), sock=listening, print=None, access_log=None, shutdown_timeout=2.0)


def announce(folder: Path, study: Study, host: str, listening: socket.socket, token: str) -> None:
    """Say where raters find the study, and who else does."""
    from src.studies.answers import ANSWERS
    from src.studies.order import showings

    print(f"study       {folder}: {len(study.items)} items, {len(showings(study, ''))} for each rater")
    print(f"raters open {address(host, listening)}/{token}/")
    print(f"answers     {folder / ANSWERS}")
    print("Ctrl-C ends; the same command goes on", flush=True)
    if host not in LOCAL:
        print(
            f"warning: host={host} lets other machines read along, as plain HTTP does; put a proxy with "
            "HTTPS before it where that matters",
            file=sys.stderr,
        )


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for browsers. Raises ValueError as `serve`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise ValueError(
            f"host={host} port={port} can't be listened on ({error}): stop what serves there, give another "
            "port, or port=0 for a free one"
        ) from error


def address(host: str, listening: socket.socket) -> str:
    """What to type into a browser."""
    reachable = socket.gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{reachable}:{listening.getsockname()[1]}"


def report(folder: Path, exports: Sequence[Path]) -> None:
    """Print how far the raters are, and write the files."""
    from rich.console import Console

    from src.studies.export import progress_table, write_export
    from src.studies.ratings import read_ratings

    ratings = read_ratings(folder)
    if ratings.asked:
        Console(width=100).print(progress_table(ratings))
    else:
        print(f"no answers in {folder} yet")
    for path in exports:
        print(f"{path} ({write_export(path, ratings)} answers)")


if __name__ == "__main__":
    launch.entry_point(main, "study")
