"""The arguments of src.evaluate: what contradicts itself, and where results go. Needs no heavy library."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from src.checkpoint_paths import check_there, run_folder_of
from src.trust import check_trust

STEPS = ("generate", "measure", "judge", "report")


def check_source(cfg: DictConfig) -> None:
    """Check that either a checkpoint or a folder of edits is given.

    Raises:
        ValueError: both or neither.
        FileNotFoundError: no such checkpoint.
    """
    if (cfg.checkpoint is None) == (cfg.edits is None):
        raise ValueError(
            "give either checkpoint=PATH (a .ckpt or an exported editor/ folder) or edits=DIR (edits to "
            "judge without a model)"
        )
    if cfg.checkpoint is not None:
        check_there(Path(str(cfg.checkpoint)))


def check_options(cfg: DictConfig) -> None:
    """Raise ValueError if steps, trust, weights, limit or best_of can't be used."""
    unknown = [step for step in cfg.steps if step not in STEPS]
    if unknown or not cfg.steps:
        raise ValueError(f"steps={list(cfg.steps)}: choose from {', '.join(STEPS)}")
    check_trust(cfg.trust)
    if cfg.weights not in ("ema", "raw"):
        raise ValueError(f"weights={cfg.weights}: choose ema or raw")
    if cfg.limit is not None and cfg.limit < 1:
        raise ValueError(f"limit={cfg.limit}: evaluate at least one case, or limit=null for all")
    if not isinstance(cfg.best_of, int) or cfg.best_of < 1:
        raise ValueError(f"best_of={cfg.best_of}: say how many edits are made of each case, 1 or more")
    if cfg.strength is not None:
        check_strengths([float(strength) for strength in cfg.strength])
    if cfg.best_of > 1 and cfg.checkpoint is None:
        raise ValueError(
            f"best_of={cfg.best_of} makes {cfg.best_of} edits of each case and needs checkpoint=PATH; "
            "edits=DIR has one of each"
        )
    if cfg.best_of > 1 and cfg.get("selector") is None:
        raise ValueError(
            f"best_of={cfg.best_of} needs a judge that chooses: say judge@selector=NAME, best another one "
            "than judge, which scores"
        )


def check_strengths(strengths: Sequence[float]) -> None:
    """Raise ValueError unless there are two or more strengths from 0 to 4 beside 1, the edit itself, each
    once.
    """
    wrong = [strength for strength in strengths if not 0 <= strength <= 4]
    others = [strength for strength in strengths if strength != 1]
    if wrong or len(set(strengths)) < len(strengths) or len(others) < 2:
        raise ValueError(
            f"strength={list(strengths)}: give two or more numbers from 0 to 4 beside 1, each once, such as "
            "[0.25,0.5,0.75,1.25,1.5]"
        )


def run_folder(cfg: DictConfig) -> Path:
    """The run folder that the results belong to: `output` if given, else that of the checkpoint or of the
    edits.

    Raises:
        ValueError: edits made elsewhere, and no output given.
    """
    if cfg.output is not None:
        return Path(cfg.output)
    if cfg.checkpoint is not None:
        return run_folder_of(Path(str(cfg.checkpoint)))
    images = Path(cfg.edits).resolve()
    if not (images.parent / "generation.json").exists():
        raise ValueError(
            f"{cfg.edits} does not lie in a run folder; say output=DIR to choose where its report goes"
        )
    return images.parents[3]
