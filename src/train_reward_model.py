"""Train a reward model: a network that learns from comparisons and ratings of edits how good edits are.

    python -m src.train_reward_model                    # on the synthetic world: minutes on a CPU
    python -m src.train_reward_model contests.source.aspects=[overall] preference@algorithm.loss=editreward
    # continue after a kill: the same command and the folder of the run
    python -m src.train_reward_model hydra.run.dir=RUN
    # use it as any judge
    python -m src.annotate data=... judge=reward_model judge.model.path=RUN/reward_model

Leaves in the run folder: metrics.csv, checkpoints/last.ckpt, reward_model/ (weights, calibration and a card),
best/ (the same of the step with the highest held-out accuracy) and run.json.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from src import launch
from src.command_line import pasteable
from src.missing_settings import check_complete
from src.records import Contest, StoredImage
from src.sweeps.launcher import SweepInterface
from src.sweeps.trainings import resolved, trainer_settings
from src.training_run import begin, check_machine, check_numbers, fit, resumed_checkpoint

TEXTS_READ = 2000
"""Instructions from which a small network's tokenizer learns."""

LOOKED_AT = 200
"""Contests to learn from, and as many held out, whose pictures are looked for before anything is built."""

UNRELATED = ("num_workers", "cache")
"""Settings of contests that weights don't depend on."""


def main(cfg: DictConfig) -> None:
    """Check the settings, then train in the run folder."""
    check_complete(cfg)
    sizes = ("contests.batch_size", "held_out_batch", "held_out_most")
    check_numbers(cfg, {name: 1 for name in sizes if OmegaConf.select(cfg, name) is not None})
    begin(cfg, "train_reward_model", train)


def train(cfg: DictConfig, folder: str) -> None:
    """Seed, contests, network, loss, callbacks, fit; contests first, as their errors are the cheapest to
    find.
    """
    from pytorch_lightning import seed_everything

    from src.algorithms.preference import Preference
    from src.callbacks.reward_model_checkpoint import RewardModelCheckpoint
    from src.reward_models.reward_model import OwnWords

    seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.contests)
    tell_contests(data, Path(folder))
    check_contests(data)
    tell_trust(cfg)
    config, settings = OmegaConf.to_yaml(cfg.reward_model, resolve=True), OmegaConf.to_yaml(settings_of(cfg))
    parts = {"algorithm": cfg.algorithm, "ema": cfg.callbacks.ema}
    resumed = resumed_checkpoint(cfg, folder, config, settings, parts)
    model = instantiate(cfg.reward_model)
    if isinstance(model, OwnWords) and cfg.start is None:
        model.learn_texts(data.sample_texts(TEXTS_READ))
    if cfg.start is not None and resumed is None:
        start_from(model, Path(cfg.start), config)
    module: Preference = instantiate(cfg.algorithm)(model=model, sources=data.sources)
    ema = instantiate(cfg.callbacks.ema)
    kept = RewardModelCheckpoint(folder, config, ema, data, settings, cfg.held_out_batch, cfg.held_out_most)
    named = {name: instantiate(node) for name, node in cfg.callbacks.items() if name != "ema"}
    looks = [named.pop(name)(kept) for name in ("held_out",) if name in named]
    callbacks = [ema, kept, *looks, *named.values()]
    trainer = fit(cfg, folder, module, data, callbacks, resumed, ("reward_model", "best"))
    if trainer.is_global_zero:
        path = Path(folder, "reward_model")
        print(
            f"next: python -m src.annotate data=... judge=reward_model {pasteable('judge.model.path', path)}",
            file=sys.stderr,
            flush=True,
        )
        print(folder)


def tell_contests(data: Any, folder: Path) -> None:
    """Say which contests are learnt from, and list what was left out, once."""
    from src.data.problems import BROKEN_ROWS, write_problems

    if not launch.is_first_process():
        return
    counts = ", ".join(f"{number} {what}" for what, number in data.source.counts().items() if number)
    print(
        f"{len(data.dataset)} contests of {data.source.name}" + (f" ({counts})" if counts else ""),
        file=sys.stderr,
    )
    problems, listed = data.source.problems, folder / BROKEN_ROWS
    write_problems(listed, problems)
    if problems:
        first = problems[0].reason
        print(f"left out: {len(problems)} rows, listed in {listed}; the first: {first}", file=sys.stderr)


def check_contests(data: Any) -> None:
    """Look at some contests before anything is built.

    Raises:
        FileNotFoundError, ValueError: a picture that isn't there or can't be read.
        ValueError: all held-out edits are as good as each other, so nothing can be learnt or measured.
    """
    held = list(data.held_out_contests(LOOKED_AT))
    places = range(0, len(data.dataset), max(1, len(data.dataset) // LOOKED_AT))
    learnt = (data.source[data.dataset[place]] for place in places)
    for contest in (*held, *learnt):
        for picture in (contest.case.image, *(edit.picture for edit in contest.candidates)):
            if isinstance(picture, StoredImage):
                picture.size()
    if not any(tells_apart(contest) for contest in held):
        raise ValueError(
            f"none of {len(held)} held-out contests calls an edit better than another: all are ties, so "
            "nothing can be learnt or measured; give other labels"
        )


def tells_apart(contest: Contest) -> bool:
    """Whether a contest's labels call an edit better than another."""
    rated = [tuple(edit.ratings.values()) for edit in contest.candidates]
    return any(len(ranking.tiers) > 1 for ranking in contest.rankings) or len(set(rated)) > 1


def start_from(model: Any, path: Path, config: str) -> None:
    """Give a network, built by a config, the weights of another training's export.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is of another network, or was trained on another base.
    """
    from src.checkpoint import load_weights, read_weights
    from src.reward_model_checkpoint import BASE, carried_by, check_base, weights_file

    file = weights_file(path)
    metadata, tensors = read_weights(file)
    load_weights(model, tensors, str(file), "reward model")
    check_base(carried_by(metadata, file).get(BASE), model, str(file), config)


def settings_of(cfg: DictConfig) -> dict[str, Any]:
    """What the weights depend on, besides the network's own settings."""
    return {
        "seed": cfg.seed,
        "start": cfg.start,
        "algorithm": resolved(cfg.algorithm),
        "contests": _related(resolved(cfg.contests)),
        "ema": resolved(cfg.callbacks.ema),
        "trainer": trainer_settings(cfg),
    }


def _related(node: Any) -> Any:
    """A tree without settings that weights don't depend on."""
    if isinstance(node, Mapping):
        return {name: _related(child) for name, child in node.items() if name not in UNRELATED}
    return node


def tell_trust(cfg: DictConfig) -> None:
    """Say, before anything is built, what loading the model will need.

    Raises:
        ValueError: a model that could not be loaded again at all.
    """
    from src.trust import check_trust, needed_trust

    check_trust(cfg.trust)
    lacking = needed_trust(resolved(cfg.reward_model), cfg.trust)
    if lacking and launch.is_first_process():
        print(
            "warning: this reward model is made of more than conf/reward_model names: judge.model.trust="
            f"[{','.join([*cfg.trust, *lacking])}] will be needed to load it",
            file=sys.stderr,
        )


if __name__ == "__main__":
    launch.entry_point(main, "train_reward_model", SweepInterface(check_machine=check_machine))
