"""Train an editor.

    python -m src.train +experiment=reward_synthetic
    python -m src.train -m +experiment=reward_synthetic model/integration=none,attention,addition,both
    # the paper's two stages: start from an editor trained without rewards
    python -m src.train +experiment=reward_synthetic start=STAGE_1/editor
    # neither autoencoder nor text encoder in memory
    python -m src.train +experiment=reward_inspix2pix data.dataset.folder=DIR data.precomputed=CACHE
    # continue after a kill: the same command and the folder of the run
    python -m src.train +experiment=reward_synthetic hydra.run.dir=RUN

Leaves in the run folder: metrics.csv, previews/, checkpoints/last.ckpt, editor/ (the export), run.json, and
broken_rows.jsonl (rows that can't be used).
"""

import os
import sys
from collections.abc import Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import launch
from src.command_line import pasteable
from src.missing_settings import check_complete
from src.sweeps.launcher import SweepInterface
from src.sweeps.titles import sweep_axes
from src.sweeps.trainings import is_trained, schedules, training_depends_on, training_settings
from src.tracking.settings import loggable_settings
from src.training_run import begin, check_machine, check_numbers, fit, resumed_checkpoint

if TYPE_CHECKING:
    from src.data.datamodule import EditData
    from src.data.rows import DatasetRow
    from src.data.stream_datamodule import StreamedEditData
    from src.editor import Editor

ROWS_READ = 2000
"""Rows whose texts a small backbone's tokenizer learns from."""

LEAST = {"data.batch_size": 1}

EDITING = ("previews", "scores", "holdout")
"""Callbacks that edit images, and so need what editing needs."""


def main(cfg: DictConfig) -> None:
    """Check the settings, then train in the run folder."""
    check_complete(cfg)
    check_numbers(cfg, LEAST)
    begin(cfg, "train", train)


def train(cfg: DictConfig, folder: str) -> None:
    """Seed, data, editor, algorithm, callbacks, trainer, fit; data first, as its errors are the cheapest to
    find.
    """
    from pytorch_lightning import seed_everything
    from pytorch_lightning.utilities import rank_zero_only

    from src import checkpoint
    from src.backbones.backbone import NO_CHAT_SUPPORT
    from src.callbacks.editor_checkpoint import EditorCheckpoint
    from src.callbacks.free_encoders import FreeEncoders, check_encoders
    from src.callbacks.provenance import Provenance
    from src.data.datamodule import EditData
    from src.data.problems import BROKEN_ROWS
    from src.data.rows import CHAT_SAMPLES

    seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data)
    report = data.check(Path(folder, BROKEN_ROWS))
    if report is not None and rank_zero_only.rank == 0:
        print(f"data: {report}", file=sys.stderr)
    model = model_for(cfg, data.is_unrated)
    model_config, settings = (
        OmegaConf.to_yaml(model, resolve=True),
        OmegaConf.to_yaml(training_settings(cfg)),
    )
    tell_trust(cfg)
    resumed = resumed_checkpoint(cfg, folder, model_config, settings, schedules(cfg))
    editor = instantiate(model)
    if cfg.start is not None and resumed is None:
        checkpoint.start_from(editor, Path(cfg.start))
    prepare_texts(editor, data, learn=cfg.start is None)
    editor.check_resolution(*data.image_size)
    precomputed = data.precomputed if isinstance(data, EditData) else None
    if precomputed is not None:
        check_encoders(editor, precomputed)
    algorithm = instantiate(cfg.algorithm)(editor=editor)
    if report is not None and report.counts.get(CHAT_SAMPLES) and not algorithm.supports_chat:
        raise ValueError(NO_CHAT_SUPPORT)

    ema = instantiate(cfg.callbacks.ema)
    logged = loggable_settings(cfg, os.environ, {"axes": sweep_axes(), "folder": folder})
    target, sampler = instantiate(cfg.target_reward), instantiate(cfg.sampler)
    callbacks = [
        ema,
        EditorCheckpoint(folder, model_config, data.image_size, ema, sampler, settings),
        Provenance(folder, logged, cfg.start, OmegaConf.select(cfg, "data.rewards.path")),
        *([] if precomputed is None else [FreeEncoders()]),
    ]
    callbacks += [instantiate(node) for name, node in cfg.callbacks.items() if name not in ("ema", *EDITING)]
    editing = {"folder": folder, "ema": ema, "target": target, "sampler": sampler}
    for name in EDITING:
        if name in cfg.callbacks:
            rows = {"data": data} if name == "previews" else {}
            callbacks.append(instantiate(cfg.callbacks[name], **editing, **rows))
    trainer = fit(cfg, folder, algorithm, data, callbacks, resumed, ("editor", "previews"))
    if trainer.is_global_zero:
        print(f"next: {next_command(cfg, Path(folder, 'editor'))}", file=sys.stderr, flush=True)
        print(folder)


def depends_on(cfg: DictConfig) -> Mapping[str, Any]:
    """What the result depends on, for sweeps. Raises as `check_numbers` and `training_depends_on`."""
    check_numbers(cfg, LEAST)
    return training_depends_on(cfg)


def next_command(cfg: DictConfig, editor: Path) -> str:
    """What one does with a trained editor: evaluate it where the right edits are known, else try it."""
    trust = f" trust=[{','.join(cfg.trust)}]" if cfg.trust else ""
    shared = f"{pasteable('checkpoint', editor)}{trust}"
    if "world" in cfg.data.get("dataset", {}):
        return f"python -m src.evaluate {shared} world.size={cfg.world.size} targets=table6"
    return f'python -m src.edit {shared} image=PHOTO.jpg instruction="make it night"'


def model_for(cfg: DictConfig, is_unrated: bool) -> DictConfig:
    """The config of the editor to be trained: without reward modules, and said so, if no row has a reward.

    Raises:
        ValueError: no row has a reward, and `without_rewards` refuses this.
    """
    from pytorch_lightning.utilities import rank_zero_only

    if cfg.without_rewards not in ("train", "refuse"):
        raise ValueError(f"without_rewards is train or refuse, not {cfg.without_rewards!r}")
    if not is_unrated or cfg.model.integration is None or cfg.model.reward_encoder is None:
        return cfg.model
    if cfg.without_rewards == "refuse":
        raise ValueError(
            "no row has a reward, and this editor is to learn from them: give "
            "+rewards@data.rewards=reward_file data.rewards.path=annotations/rewards.jsonl (python -m "
            "src.annotate makes it), or train without: model/integration=none"
        )
    if rank_zero_only.rank == 0:
        print(
            "no row has a reward: the editor is trained without, as with model/integration=none (python -m "
            "src.annotate makes rewards)",
            file=sys.stderr,
        )
    model = copy(cfg.model)  # keeps the parent, for interpolations
    model.integration = None
    return model


def prepare_texts(editor: "Editor", data: "EditData | StreamedEditData", learn: bool) -> None:
    """Let a backbone with a tokenizer of its own learn from the rows' texts, and check that it reads them.

    Raises:
        ValueError: a text that it can't encode.
    """
    from src.backbones.backbone import OwnTokenizer

    if not isinstance(editor.backbone, OwnTokenizer):
        return
    rows = data.sample_rows(ROWS_READ)
    if not rows:
        return
    texts = [text for row in rows for text in (row.instruction, *feedback_texts(editor, row))]
    if learn:
        editor.backbone.learn_texts(texts)
    editor.backbone.check_texts(list(dict.fromkeys(texts)))


def feedback_texts(editor: "Editor", row: "DatasetRow") -> Sequence[str]:
    """What the editor's text encoder reads of a row's reward."""
    encoder = editor.reward_encoder
    if encoder is None or not encoder.uses_text or row.reward is None:
        return []
    verdicts = row.reward.verdicts
    (windows,) = encoder.layout([(verdicts[0].feedback, verdicts[1].feedback, verdicts[2].feedback)])
    return windows


def tell_trust(cfg: DictConfig) -> None:
    """Say, before anything is built, what loading the editor will need.

    Raises:
        ValueError: an editor that could not be loaded again at all.
    """
    from pytorch_lightning.utilities import rank_zero_only

    from src.trust import check_trust, needed_trust

    check_trust(cfg.trust)
    model = OmegaConf.to_container(cfg.model, resolve=True)
    assert isinstance(model, dict)
    lacking = needed_trust({str(name): node for name, node in model.items()}, cfg.trust)
    if lacking and rank_zero_only.rank == 0:
        print(
            "warning: this editor is made of more than conf/model names: every command that loads it will "
            f"need trust=[{','.join([*cfg.trust, *lacking])}], which silences this warning as well",
            file=sys.stderr,
        )


SWEEPS = SweepInterface(depends_on, is_trained, check_machine=check_machine)
"""What sweeps need to know."""

if __name__ == "__main__":
    launch.entry_point(main, "train", SWEEPS)
