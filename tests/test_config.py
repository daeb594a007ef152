"""Every yaml composes, and everything it describes can be built; new files are found by glob."""

from itertools import product
from pathlib import Path

import pytest
from backbones.pipelines import write_pipeline
from backbones.smartedit.folders import write_llava
from conftest import SMALL, config
from data.written import write_tree
from evaluation.tiny_encoders import write_clip, write_dino
from hydra.utils import instantiate
from judges.tiny_vlm import write_vlm
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from src.editor import Editor
from src.launch import CONF

HYDRA_SETTINGS = {"hydra"}


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


ENTRY_POINTS = sorted(path.stem for path in CONF.glob("*.yaml"))
MODEL_GROUPS = ["backbone", "reward_encoder", "integration", "process"]
MODEL_CHOICES = [(group, option) for group in MODEL_GROUPS for option in options(f"model/{group}")]


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_entry_point_has_its_config_and_the_reverse(name: str) -> None:
    assert (CONF.parent / "src" / f"{name}.py").exists()
    config(name=name)


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONF)))
def test_every_yaml_says_what_it_is(path) -> None:
    """The first line is a comment (or the package it belongs to)."""
    text = path.read_text()
    assert text.endswith("\n")
    assert "\t" not in text
    assert text.startswith("# "), f"{path} starts without a comment"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> str:
    return f"model.backbone.pretrained={write_pipeline(tmp_path_factory.mktemp('pipeline'))}"


@pytest.mark.parametrize(("group", "option"), MODEL_CHOICES)
def test_every_model_choice_builds_an_editor(group: str, option: str, pipeline: str) -> None:
    around = [each.replace("backbone.", "backbone.base.") for each in (pipeline, *SMALL)]
    small = {"inspix2pix": [pipeline], "smartedit": around[:1], "smartedit_tiny": around[1:]}.get(
        option, list(SMALL)
    )
    editor = instantiate(config(f"model/{group}={option}", *small).model)
    assert isinstance(editor, Editor)


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_builds(experiment: str, pipeline: str, tmp_path) -> None:
    given = []
    if experiment in ("reward_smartedit", "smartedit_stage1", "smartedit_stage2"):
        given = [pipeline.replace("backbone.", "backbone.base.")]
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
        given = [pipeline]
    if "synthetic" not in experiment:
        given += [f"data.dataset.folder={write_tree(tmp_path)}", "data.dataset.extension=png"]
    cfg = config(f"+experiment={experiment}", *given)
    editor = instantiate(cfg.model)
    assert isinstance(editor, Editor)
    instantiate(cfg.data)
    instantiate(cfg.algorithm)(editor=editor)
    instantiate(cfg.sampler)


@pytest.mark.parametrize("experiment", options("experiment"))
@pytest.mark.parametrize("sweep", options("sweep"))
def test_every_sweep_fits_every_experiment(sweep: str, experiment: str) -> None:
    """A sweep has axes only, and each of its jobs composes."""
    axes = OmegaConf.load(CONF / f"sweep/{sweep}.yaml").hydra.sweeper.params
    if sweep == "table6_inference_score":
        from hydra.core.override_parser.overrides_parser import OverridesParser

        ((axis, values),) = axes.items()
        override = OverridesParser.create().parse_override(f"{axis}={values}")
        for value in override.sweep_string_iterator():
            assert len(config(f"{axis}={value}", name="evaluate").target_reward.scores) == 3
        return
    for job in product(
        *([f"{axis}={value}" for value in str(values).split(",")] for axis, values in axes.items())
    ):
        config(f"+experiment={experiment}", *job)


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
    cfg = config("+experiment=reward_synthetic", f"+control={control}", *given)
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
        whole = config(f"{group}={option}", name="evaluate")
        for name in OmegaConf.missing_keys(whole[group]):
            OmegaConf.update(whole, name, "given by the user")
        for node in local_models(whole[group]):
            node.update({"model": str(weights), "adapter": None})
        instantiate(whole[group])


def test_reward_none_and_integration_none_are_the_same_editor() -> None:
    one, other = (
        instantiate(config(*SMALL, f"model/{group}=none").model)
        for group in ("reward_encoder", "integration")
    )
    assert one.state_dict().keys() == other.state_dict().keys()
