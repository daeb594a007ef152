"""Every yaml composes, and everything it describes can be built; new files are found by glob."""

from itertools import product
from pathlib import Path

import pytest
from backbones.pipelines import write_pipeline
from backbones.smartedit.folders import write_llava
from commands import UNET
from conftest import SMALL, config
from data.contest_rows import OWN, own_row, saved
from data.written import write_tree
from evaluation.tiny_encoders import write_clip, write_dino
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from judges.tiny_vlm import write_vlm
from omegaconf import DictConfig, OmegaConf
from options import CONFIG_DIRS, NATIVE, options, small_backbone
from pytorch_lightning import Trainer
from reward_models.made import write_reward_model
from reward_models.released import write_released

from src.differences import leaves
from src.editor import Editor
from src.launch import CONF
from src.settings.value_types import check_types

ENTRY_POINTS = sorted(path.stem for path in CONF.glob("*.yaml"))
MODEL_GROUPS = ["backbone", "reward_encoder", "integration", "process"]
MODEL_CHOICES = [(group, option) for group in MODEL_GROUPS for option in options(f"model/{group}")]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_entry_point_has_its_config_and_the_reverse(name: str) -> None:
    assert (CONF.parent / "src" / f"{name}.py").exists()
    overrides = ["+experiment=inspix2pix"] if name == "throughput" else []  # of what has full size
    check_types(config(*overrides, name=name), name)


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_what_a_yaml_sets_is_what_its_program_gets(name: str) -> None:
    """No group that is composed later takes it back; null stands for a group that may be chosen."""
    own = OmegaConf.load(CONF / f"{name}.yaml")
    for part in ("defaults", "hydra"):
        own.pop(part, None)
    wanted = leaves(OmegaConf.to_container(own, resolve=False))
    found = dict(leaves(OmegaConf.to_container(config(name=name), resolve=False)))
    assert [
        (key, value, found.get(key)) for key, value in wanted if value not in (None, found.get(key))
    ] == []


@pytest.mark.parametrize(
    "path",
    [path for folder in CONFIG_DIRS for path in sorted(folder.rglob("*.yaml"))],
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_yaml_says_what_it_is(path) -> None:
    """The first line is a comment (or the package it belongs to)."""
    text = path.read_text()
    assert text.endswith("\n")
    assert "\t" not in text
    assert text.startswith("# "), f"{path} starts without a comment"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    return write_pipeline(tmp_path_factory.mktemp("pipeline"))


@pytest.mark.parametrize(("group", "option"), MODEL_CHOICES)
def test_every_model_choice_builds_an_editor(group: str, option: str, pipeline: Path) -> None:
    small = small_backbone(option if group == "backbone" else "tiny", pipeline)
    small = ["model/backbone=flux2_tiny"] if option in NATIVE else small
    editor = instantiate(config(f"model/{group}={option}", *small).model)
    assert isinstance(editor, Editor)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_builds(experiment: str, pipeline: Path, tmp_path) -> None:
    given = []
    if experiment in ("reward_smartedit", "rl_smartedit", "smartedit_stage1", "smartedit_stage2"):
        given = small_backbone("smartedit", pipeline)
    if experiment.startswith("smartedit_stage"):
        given += [
            f"model.backbone.reader.language.llava.path={write_llava(tmp_path / 'llava')}",
            "model.backbone.reader.interaction.heads=2",
        ]
        # a small tokenizer writes letters
        given += [
            f"+model.backbone.reader.language.conversation.{each}"
            for each in ("max_length=120", "before='USER:'")
        ]
    if experiment == "reward_synthetic_smartedit":
        given += ["model.backbone.reader.weights=stage2/editor"]
    if "inspix2pix" in experiment:
        given = small_backbone("inspix2pix", pipeline)
    if "flux2" in experiment:
        given = small_backbone("flux2_klein", pipeline)
    if "synthetic" not in experiment:
        given += [f"data.dataset.folder={write_tree(tmp_path)}", "data.dataset.extension=png"]
    if experiment in ("rl_inspix2pix", "rl_smartedit"):
        given += [
            f"ledger={tmp_path}/ledger.sqlite",
            "callbacks.holdout.benchmark.source=cases.csv",
            "judge@algorithm.rewards.judge=gpt4o",  # a local one asks the hub for its weights
        ]
    cfg = config(f"+experiment={experiment}", *given)
    check_types(cfg, "train")
    editor = instantiate(cfg.model)
    assert isinstance(editor, Editor)
    instantiate(cfg.data)
    instantiate(cfg.algorithm)(editor=editor)
    instantiate(cfg.sampler)


def jobs_of(sweep: str) -> list[tuple[str, ...]]:
    """The overrides of each job; a sweep has axes only."""
    axes = OmegaConf.load(CONF / f"sweep/{sweep}.yaml").hydra.sweeper.params
    parsed = [OverridesParser.create().parse_override(f"{axis}={values}") for axis, values in axes.items()]
    values = [
        list(override.sweep_string_iterator())
        if override.is_sweep_override()
        else [override.get_value_string()]
        for override in parsed
    ]
    return list(
        product(*([f"{axis}={value}" for value in each] for axis, each in zip(axes, values, strict=True)))
    )


@pytest.mark.parametrize("sweep", options("sweep"))
def test_every_job_of_a_sweep_composes(sweep: str) -> None:
    for job in jobs_of(sweep):
        if job[0].startswith("target_reward."):
            assert len(config(*job, name="evaluate").target_reward.scores) == 3
        else:
            config("+experiment=reward_synthetic", *job)


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["ends", "all"])
@pytest.mark.parametrize("experiment", options("experiment"))
def test_the_sweeps_of_the_architecture_fit_every_experiment(experiment: str, every: bool) -> None:
    for sweep in ("table4_reward_signal", "table5_integration"):
        jobs = jobs_of(sweep)
        for job in jobs if every else (jobs[0], jobs[-1]):  # the first is none
            config(f"+experiment={experiment}", *job)


@pytest.mark.parametrize("control", options("control"))
def test_a_control_is_made_of_rendered_triplets_alone(control: str, tmp_path: Path) -> None:
    """It composes with data on disk, and is refused before any model is built."""
    folder = write_tree(tmp_path)
    on_disk = [f"data.dataset.folder={folder}", "data.dataset.extension=png", "model.backbone.pretrained=any"]
    cfg = config("+experiment=reward_inspix2pix", f"+control={control}", *on_disk)
    if cfg.data.get("control") is not None:
        with pytest.raises(InstantiationException, match="a control can't be made of Pix2PixTree"):
            instantiate(cfg.data)
    else:
        assert control in ("none", "rewarded")


REWARDED = {"rewarded", "permuted", "scalar", "partly_clean"}
"""Controls whose editors are conditioned on a reward."""


@pytest.mark.parametrize("control", options("control"))
def test_every_control_trains_on_what_the_experiment_says(control: str, tmp_path: Path) -> None:
    """A control fits seeds, starts and worlds; the experiment's triplets, their number and their kept rewards
    stay what they are.
    """
    world = "never_all_good" if control == "best_rated" else "default"
    given = [
        *SMALL,
        "data.dataset.length=40",
        f"data.dataset.cache={tmp_path}",
        "seed=3",
        "start=stage1/editor",
        f"world={world}",
    ]
    given += ["data.control.share=0.1"] if control == "best_rated" else []
    given += ["data.dataset.length=120"] if control == "all_good" else []
    cfg = config(*UNET, f"+control={control}", *given)
    assert (cfg.seed, cfg.start, cfg.trainer.max_steps) == (3, "stage1/editor", 2000)
    dataset = instantiate(cfg.data).dataset
    triplet, reward = dataset[0]
    assert triplet.edited.shape == (32, 32, 3)
    assert (reward is None) == (control == "exact")
    inner = dataset if control in ("none", "rewarded") else dataset.dataset
    assert (len(inner), inner.cache) == (int(cfg.data.dataset.length), tmp_path)
    assert (instantiate(cfg.model).integration is not None) == (control in REWARDED)


def test_no_reward_is_one_cell_however_it_is_said() -> None:
    """So a sweep that knows a cell by its config trains it once."""
    assert config("+experiment=reward_synthetic", "+control=none") == config(
        "+experiment=reward_synthetic", "model/integration=none"
    )
    assert config("+experiment=reward_synthetic", "+control=rewarded") == config(
        "+experiment=reward_synthetic"
    )


@pytest.mark.parametrize("trainer", [name for name in options("trainer") if "cpu" in name])
def test_cpu_trainers_build(trainer: str) -> None:
    assert isinstance(
        instantiate(config(f"trainer={trainer}").trainer, logger=False, enable_checkpointing=False), Trainer
    )


@pytest.mark.parametrize("trainer", options("trainer"))
def test_every_trainer_names_arguments_that_lightning_knows(trainer: str) -> None:
    import inspect

    known = set(inspect.signature(Trainer.__init__).parameters)
    assert set(config(f"trainer={trainer}").trainer) - {"_target_"} <= known


def local_models(node: DictConfig) -> list[DictConfig]:
    """The nodes below that would load a model of the hub."""
    inside = [
        found for value in node.values() if isinstance(value, DictConfig) for found in local_models(value)
    ]
    return [*inside, *([node] if node.get("_target_") == "src.judges.local_vlm.LocalVLM" else [])]


def test_every_choice_of_image_metrics_builds(tmp_path: Path) -> None:
    folders = {
        "clip": write_clip(tmp_path / "clip"),
        "clip_large": write_clip(tmp_path / "clip_large"),
        "dino": write_dino(tmp_path / "dino"),
    }
    for option in options("image_metrics"):
        node = config(f"image_metrics={option}", name="evaluate").image_metrics
        for name in () if node is None else folders.keys() & node.keys():
            node[name].model = folders[name]
        assert (instantiate(node) is None) == (option == "none")


@pytest.mark.parametrize("group", ["benchmark", "judge", "targets", "sampler"])
def test_every_choice_of_evaluation_builds(
    group: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = write_vlm(tmp_path / "vlm", "qwen3_vl") if group == "judge" else tmp_path
    for option in options(group):
        whole = config(f"{group}={option}", f"checkpoint={CONF.parent}/experiments/stage1", name="evaluate")
        check_types(whole, "evaluate")
        for name in OmegaConf.missing_keys(whole[group]):
            OmegaConf.update(whole, name, "given by the user")
        if option == "reward_model":
            whole.judge.model.path = str(write_reward_model(tmp_path / "reward_model"))
        if option == "editreward":
            base = write_vlm(tmp_path / "base", "qwen2_5_vl")
            whole.judge.model.update(write_released(tmp_path / "released", base))
        for node in local_models(whole[group]):
            node.update({"model": str(weights), "adapter": None})
        instantiate(whole[group])


@pytest.mark.parametrize("preference", options("preference"))
def test_every_loss_of_preferences_builds(preference: str) -> None:
    cfg = config(f"preference@algorithm.loss={preference}", name="train_reward_model")
    source = instantiate(cfg.contests).source
    assert (
        instantiate(cfg.algorithm.loss)(sources=[source]).names,
        sum(weights.numel() for weights in instantiate(cfg.reward_model).parameters()) > 10_000,
    ) == (["synthetic"], True)


@pytest.mark.parametrize("option", options("judge_benchmark"))
def test_every_benchmark_of_judges_builds(option: str, tmp_path: Path) -> None:
    cfg = config(f"judge_benchmark={option}", name="evaluate_judge")
    if option == "contests":  # says at once what its table lacks
        cfg.judge_benchmark.source.path = str(saved(tmp_path / "contests", [own_row()]))
        cfg.judge_benchmark.source.columns = OWN
    for name in OmegaConf.missing_keys(cfg.judge_benchmark):
        OmegaConf.update(cfg, name, "given by the user")
    assert instantiate(cfg.judge_benchmark).name == option


def test_reward_none_and_integration_none_are_the_same_editor() -> None:
    one, other = (
        instantiate(config(*SMALL, f"model/{group}=none").model)
        for group in ("reward_encoder", "integration")
    )
    assert one.state_dict().keys() == other.state_dict().keys()


@pytest.mark.parametrize("data", [name for name in options("data") if name != "synthetic"])
def test_an_experiment_trains_on_any_rows_without_more_settings(data: str) -> None:
    """Such as the command on the card of an exported annotation, data=table data.dataset.table.path=DIR."""
    cfg = config("+experiment=reward_inspix2pix", f"data={data}")
    assert OmegaConf.to_container(cfg.callbacks.previews, resolve=True, throw_on_missing=True)
    assert (cfg.data.transform.size, cfg.data.batch_size, cfg.without_rewards) == (256, 4, "refuse")
    small = config(f"data={data}")
    assert (small.data.transform.size, small.model.backbone.tokenizer.vocabulary) == (64, None)
    assert (small.model.process.prediction, config().model.process.prediction) == (
        "preconditioned",
        "velocity",
    )
