"""The Python interface: an editor and a judge as functions of pictures, by the names and settings of the
commands.

    from src import load_editor, load_judge

    edit = load_editor("runs/.../editor")
    night = edit("photo.jpg", "make it night", reward=(5, 5, 5), seed=0)
    reward = load_judge("gpt4o")("photo.jpg", "make it night", night)
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hydra import initialize_config_dir
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import launch
from src.command_line import quoted_arguments
from src.missing_settings import CONF, check_complete
from src.settings.refusals import check_form

if TYPE_CHECKING:
    from src.editing.photo_editor import PhotoEditor
    from src.judges.photo_judge import PhotoJudge


def load_editor(
    checkpoint: str | os.PathLike,
    *,
    sampler: str | None = None,
    device: str = "auto",
    weights: Literal["ema", "raw"] = "ema",
    trust: Sequence[str] = (),
    settings: Sequence[str] = (),
) -> "PhotoEditor":
    """The editor in a checkpoint, as a function of pictures: see `PhotoEditor.__call__`.

    Args:
        checkpoint: what `python -m src.edit checkpoint=...` takes.
        sampler: a choice of conf/sampler, such as "paper"; None: that of the editor's training.
        device: "auto", "cpu" or "cuda".
        weights: averaged ("ema") or as the optimiser left them ("raw", .ckpt only).
        trust: packages or classes of your own that the editor is built of.
        settings: further settings of `src.edit`, written as there: ["sampler.shift=3", "execution=fast"].

    Raises:
        FileNotFoundError: no such checkpoint.
        ValueError: an editor that can't be used, or a setting that can't.
    """
    if weights not in ("ema", "raw"):
        raise ValueError(f"weights={weights}: choose ema or raw")
    _check_list("trust", trust)
    _check_list("settings", settings)
    chosen = [] if sampler is None else [f"sampler={sampler}"]
    with _plain_errors():
        cfg = _composed("edit", f"checkpoint={Path(checkpoint)}", *chosen, *settings)
        given = {"device": device, "weights": weights, "trust": list(trust)}
        return editor_of(OmegaConf.merge(cfg, given))


def editor_of(cfg: DictConfig | ListConfig) -> "PhotoEditor":
    """The editor that the config of `src.edit` or `src.app` describes. Raises as `load_editor`."""
    import torch

    from src import checkpoint as checkpoints
    from src.editing.photo_editor import PhotoEditor
    from src.ranks import device_of
    from src.trained_sampler import trained_with

    path, place = Path(str(cfg.checkpoint)), device_of(cfg.device)
    trained_side = min(trained_with(path).size)
    execution, sampler = instantiate(cfg.execution), instantiate(cfg.sampler)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)  # of frozen parts without weights, as in src.edit
        editor = checkpoints.load_editor(path, cfg.weights, cfg.trust).to(place)
    sampler.resize = cfg.resize
    return PhotoEditor(execution.prepare(editor), sampler, trained_side, place, cfg.most_pixels)


def load_judge(
    judge: str = "gpt4o",
    *,
    model: str | None = None,
    base_url: str | None = None,
    budget_usd: float | int | None = None,
    ledger: str | os.PathLike | None = None,
    mode: Literal["annotation", "evaluation"] = "annotation",
    settings: Sequence[str] = (),
) -> "PhotoJudge":
    """A judge as a function of pictures: see `PhotoJudge.__call__`.

    Args:
        judge: a choice of conf/judge: "gpt4o", "openai_compatible", "local_vlm", "editscore", "oracle", ...
        model: its model, where the choice has one.
        base_url: the address of its server, where it has one.
        budget_usd: it refuses the next call that would exceed it.
        ledger: a file that keeps every reply, so that nothing is paid for twice; None keeps them in memory.
        mode: "annotation": score and feedback; "evaluation": score and success.
        settings: further settings of `src.annotate`, written as there: ["judge.rubric.repeats=3"].

    Raises:
        ValueError: no such judge, or a setting that can't be used.
    """
    if mode not in ("annotation", "evaluation"):
        raise ValueError(f"mode={mode}: choose annotation or evaluation")
    _check_list("settings", settings)
    client = {"judge.client.model": model, "judge.client.base_url": base_url, "ledger": ledger}
    with _plain_errors():
        cfg = _composed(
            "annotate",
            f"judge={judge}",
            f"judge_mode={mode}",
            f"budget_usd={'null' if budget_usd is None else budget_usd}",
            "ledger=null",
            *(f"{name}={value}" for name, value in client.items() if value is not None),
            *settings,
        )
        check_complete(cfg.judge)
        from src.judges.photo_judge import PhotoJudge

        return PhotoJudge(instantiate(cfg.judge))


def _check_list(name: str, texts: Sequence[str]) -> None:
    if isinstance(texts, str):
        raise ValueError(f"{name}={texts!r} is one text: give a list, {name}=[{texts!r}]")


def _composed(command: str, *settings: str) -> DictConfig:
    """The config of a command, in a program that may be a Hydra app of its own. Raises ValueError, with the
    nearest name there is, for a setting or choice that there isn't.
    """
    with initialize_config_dir(str(CONF), version_base="1.3"):
        check_form(command, settings)
        return launch.composed(command, *quoted_arguments(command, settings))


@contextmanager
def _plain_errors() -> Iterator[None]:
    """What Hydra raises becomes a ValueError of one line; what libraries say of a notebook's bars, which
    nothing here draws, is left out.
    """
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")
            yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(launch.one_line(error)) from error
