"""Editors from elsewhere are data: whatever their config says, nothing but an editor is built of it."""

import ast
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from conftest import SMALL, config
from omegaconf import OmegaConf
from safetensors.torch import save_file

from src import checkpoint, trust
from src.backbones.pretrained import check_names_no_code
from src.backbones.smartedit.reader import read_reader_config

Node = dict[str, Any]


def honest() -> Node:
    tree = OmegaConf.to_container(config(*SMALL).model, resolve=True)
    assert isinstance(tree, dict)
    return {str(name): node for name, node in tree.items()}


HONEST = honest()


def as_checkpoint(folder: Path, text: str) -> Path:
    saved = {"editor_config": text, "picture_size": [32, 32], "ema": {}, "state_dict": {}}
    torch.save(saved, folder / "last.ckpt")
    return folder / "last.ckpt"


def as_export(folder: Path, text: str) -> Path:
    (folder / "config.yaml").write_text(yaml.safe_dump({"editor_config": text, "picture_size": [32, 32]}))
    save_file({"weight": torch.zeros(1)}, folder / "model.safetensors")
    return folder


def as_pipeline(folder: Path, text: str) -> Path:
    (folder / "editor.yaml").write_text(yaml.safe_dump({"editor_config": text, "picture_size": [32, 32]}))
    (folder / "unet").mkdir()
    save_file({"weight": torch.zeros(1)}, folder / "unet/diffusion_pytorch_model.safetensors")
    return folder


CONTAINERS = (as_checkpoint, as_export, as_pipeline)

SHELL = "touch PROOF"
CALLS: Mapping[str, Node] = {
    # the eight that ran before
    "torch.utils.collect_env.run": {"command": SHELL},
    "torch.utils.collect_env.run_and_read_all": {"run_lambda": None, "command": SHELL},
    "torch.hub.load": {"repo_or_dir": ".", "model": "x", "source": "local"},
    "torch.load": {"f": "payload.bin", "weights_only": False},
    "transformers.AutoConfig.from_pretrained": {
        "pretrained_model_name_or_path": ".",
        "trust_remote_code": True,
    },
    "diffusers.DiffusionPipeline.from_pretrained": {
        "pretrained_model_name_or_path": ".",
        "custom_pipeline": ".",
        "trust_remote_code": True,
    },
    "torch.distributed.run.main": {"args": ["payload.py"]},
    "src.files.write_atomically": {"path": "PROOF", "content": "x"},
    # code from files or texts
    "torch.jit.load": {"f": "payload.pt"},
    "torch.package.PackageImporter": {"file_or_buffer": "payload.pt"},
    "torch.utils.cpp_extension.load_inline": {"name": "x", "cpp_sources": "", "functions": []},
    "torch.utils.benchmark.Timer": {"stmt": "open('PROOF', 'w')"},
    "torch.serialization.add_safe_globals": {"safe_globals": ["os.system"]},
    "torch.multiprocessing.spawn": {"fn": "os.system"},
    "torch.distributed.elastic.multiprocessing.start_processes": {"name": "x", "entrypoint": "sh"},
    "torch.library.Library": {"ns": "aten", "kind": "IMPL"},
    "transformers.AutoModel.from_pretrained": {
        "pretrained_model_name_or_path": ".",
        "trust_remote_code": True,
    },
    "transformers.pipeline": {"task": "text-generation", "model": ".", "trust_remote_code": True},
    "transformers.dynamic_module_utils.get_class_from_dynamic_module": {"class_reference": "payload.X"},
    "diffusers.utils.dynamic_modules_utils.get_class_from_dynamic_module": {"module_file": "payload.py"},
    "diffusers.UNet2DConditionModel.from_pretrained": {"pretrained_model_name_or_path": "."},
    "peft.PeftModel.from_pretrained": {"model": None, "model_id": "."},
    "hydra.utils.instantiate": {"config": {"x": 1}},
    "hydra.utils.get_method": {"path": "os.system"},
    "builtins.exec": {"source": "open('PROOF', 'w')"},
    "os.system": {"command": SHELL},
    "subprocess.Popen": {"args": SHELL, "shell": True},
    "runpy.run_path": {"path_name": "payload.py"},
    "importlib.import_module": {"name": "payload"},
    # files written or deleted
    "torch.save": {"obj": 1, "f": "PROOF"},
    "torch.hub.download_url_to_file": {"url": "http://127.0.0.1:9/x", "dst": "PROOF"},
    "torch.utils.tensorboard.SummaryWriter": {"log_dir": "PROOF"},
    "diffusers.utils.export_utils.export_to_ply": {"mesh": None, "output_ply_path": "PROOF"},
    "src.files.discard": {"path": "."},
    "src.files.append_lines": {"path": "PROOF", "lines": "x"},
    "src.pipeline.write_pipeline": {"folder": "PROOF"},
    "src.checkpoint.export": {"folder": "PROOF"},
    "src.launch.script": {"task": "os.abort"},
    # the network
    "torch.hub.load_state_dict_from_url": {"url": "http://127.0.0.1:9/x"},
    "diffusers.utils.load_image": {"image": "http://127.0.0.1:9/x"},
    "transformers.utils.hub.cached_file": {"path_or_repo_id": "a/b", "filename": "x"},
    "src.judges.openai_chat.OpenAIChat": {"url": "http://127.0.0.1:9/x"},
    # other loaders of this project, and what is no class
    "src.hub.load_by_name": {"load": None, "name": "."},
    "src.backbones.smartedit.llava.AutoTokenizer.from_pretrained": {"pretrained_model_name_or_path": "."},
    "src.checkpoint.torch.load": {"f": "payload.bin"},
    "src.editor.Editor ": {},
    "src..editor.Editor": {},
    "Editor": {},
    "": {},
}


SEEN_RUNNING = list(CALLS)[:8]


@pytest.mark.parametrize("target", CALLS)
def test_nothing_is_called_that_conf_model_does_not_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """In every kind of file for those that ran before, in one of them for the others."""
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(HONEST | {"process": {"_target_": target, **CALLS[target]}})
    kinds = CONTAINERS if target in SEEN_RUNNING else [CONTAINERS[len(target) % 3]]
    loads = (checkpoint.load_editor, checkpoint.lossless_process)
    for index, contain in enumerate(kinds):
        (folder := tmp_path / str(index)).mkdir()
        with pytest.raises(ValueError, match=r"nothing of it was run"):
            loads[index % 2](contain(folder, text))
    assert not (tmp_path / "PROOF").exists()


def set_in(place: str, value: object) -> Callable[[Node], None]:
    def change(tree: Node) -> None:
        node: Any = tree
        *path, last = place.split(".")
        for part in path:
            node = node[part]
        node[last] = value

    return change


LORA = {"_target_": "peft.LoraConfig", "_convert_": "all", "r": 4, "target_modules": ["to_q"]}
CHANGES: Mapping[str, tuple[Callable[[Node], None], str]] = {
    "a partial of anything": (
        set_in("integration", {"_target_": "torch.hub.load", "_partial_": True}),
        "builds 'torch.hub.load' at integration",
    ),
    "deep inside": (
        set_in("integration.parts.attention", {"_target_": "os.system", "_partial_": True}),
        "at integration.parts.attention",
    ),
    "in a list": (set_in("backbone.tokenizer.vocabulary", [{"_target_": "os.getcwd"}]), r"vocabulary\[0\]"),
    "positional arguments": (set_in("process._args_", ["velocity"]), "_args_"),
    "partial where it isn't": (set_in("process._partial_", True), "_partial_"),
    "no partial where it is": (lambda tree: tree["integration"].pop("_partial_"), "no mark at integration"),
    "not recursive": (set_in("backbone._recursive_", False), "_recursive_"),
    "marks beside no class": (set_in("integration.parts._partial_", True), "beside no class"),
    "a target that is no text": (set_in("process._target_", ["src.editor.Editor"]), "builds"),
    "another root": (set_in("_target_", "src.diffusion.ddpm.DDPM"), "an editor is a src.editor.Editor"),
    "an argument of ours": (set_in("process.device", "cuda"), "argument process.device"),
    "an argument of diffusers": (set_in("backbone.unet.encoder_hid_dim_type", "x"), "argument backbone.unet"),
    "an import by LoRA": (
        set_in("backbone.lora", {**LORA, "megatron_core": "payload"}),
        r"lora.*conf/model does not",
    ),
    "a pattern that never ends": (
        set_in(
            "backbone",
            {"_target_": "src.backbones.inspix2pix.InsPix2Pix", "pretrained": None}
            | {"trained": "lora", "lora": {**LORA, "target_modules": "(a+)+$"}},
        ),
        "target_modules",
    ),
    "a width of a billion": (set_in("backbone.text_encoder.hidden_size", 10**9), "8192 is the most"),
    "a million layers": (set_in("backbone.text_encoder.num_hidden_layers", 10**6), "is the most"),
    "heads in thousands": (set_in("integration.parts.attention.heads", 10**4), "is the most"),
    "not a number": (set_in("process.shift", float("nan")), "is the most"),
    "endless": (set_in("process.shift", float("inf")), "is the most"),
    "a long text": (set_in("process.prediction", "x" * 30_000), "letters"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_of_an_honest_config_is_refused(tmp_path: Path, what: str) -> None:
    change, message = CHANGES[what]
    tree = honest()
    change(tree)
    with pytest.raises(ValueError, match=message):
        checkpoint.load_editor(as_checkpoint(tmp_path, yaml.safe_dump(tree)))


TEXTS: Mapping[str, tuple[str, str]] = {
    "the environment": ("${oc.env:HOME}", "refers to something outside"),
    "a resolver of ours": ("${is_posterior:velocity}", "refers to something outside"),
    "another node": ("${backbone}", "refers to something outside"),
    "decoded": ("${oc.decode:'1'}", "refers to something outside"),
    "a path object": ("!!python/object/apply:pathlib.Path [/]", "has the tag"),
    "any object": ("!!python/object/apply:os.system [touch PROOF]", "has the tag"),
    "an alias": ("&a [*a]", "has an alias"),
    "depth": ("[" * 100 + "]" * 100, "nesting deeper"),
    "no YAML": ("{", "is not YAML"),
}


@pytest.mark.parametrize("what", TEXTS)
@pytest.mark.parametrize("contain", CONTAINERS)
def test_a_config_is_plain_values(tmp_path: Path, contain: Callable[[Path, str], Path], what: str) -> None:
    value, message = TEXTS[what]
    quoted = f"'{value}'" if value.startswith("$") and "'" not in value else value
    text = yaml.safe_dump(HONEST) + f"extra: {quoted}\n"
    with pytest.raises(ValueError, match=message):
        checkpoint.read(contain(tmp_path, text))


READER = {"image_tokens": 8, "query_transformer": {"queries": 4}, "interaction": {"depth": 1}}


@pytest.mark.parametrize(
    "change",
    [
        {"image_tokens": 10**9},
        {"query_transformer": {"layers": 10**6}},
        {"interaction": {"depth": 1, "device": "cuda"}},
        {"interaction": [1]},
        {"conversation": {"before": "x" * 30_000}},
        {"lora": {"r": 4, "target_modules": "(a+)+$"}},
    ],
)
def test_the_config_of_a_reader_is_checked_alike(tmp_path: Path, change: Node) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(READER))
    assert read_reader_config(file) == READER
    file.write_text(json.dumps(READER | change))
    with pytest.raises(ValueError, match="nothing of it was used"):
        read_reader_config(file)


def test_kernels_of_the_hub_are_not_fetched() -> None:
    check_names_no_code({"attn_implementation": "sdpa", "a": [{"b/c": 1}]}, Path("config.json"))
    for name in ("attn_implementation", "_attn_implementation", "experts_implementation"):
        with pytest.raises(ValueError, match="names code to run"):
            check_names_no_code({"text_config": [{name: "somebody/kernel"}]}, Path("config.json"))


def test_remote_code_and_whole_pickles_stand_nowhere() -> None:
    """Each `from_pretrained` of an Auto class says trust_remote_code=False, each torch.load weights_only."""
    for file in (Path(checkpoint.__file__).parent).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                given = {each.arg: ast.unparse(each.value) for each in node.keywords}
                assert given.get("trust_remote_code", "False") == "False", (file, called)
                assert "custom_pipeline" not in given, (file, called)
                assert called != "torch.load" or given.get("weights_only") == "True", (file, called)
                assert called not in ("pickle.load", "pickle.loads", "np.load(allow_pickle)"), (file, called)
                assert given.get("allow_pickle", "False") == "False", (file, called)
                if re.fullmatch(r"Auto(Config|Tokenizer|ImageProcessor)\.from_pretrained", called):
                    assert file.name == "pipeline.py" or "trust_remote_code" in given, (file, called)


def test_a_small_text_does_not_become_a_large_tree(tmp_path: Path) -> None:
    bomb = "a: &a [x]\n" + "".join(
        f"{y}: &{y} [*{x}, *{x}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
    )
    with pytest.raises(ValueError, match="has an alias"):
        checkpoint.read(as_export(tmp_path, bomb))
    with pytest.raises(ValueError, match="letters long"):
        trust.plain_tree("a" * (trust.MOST_CONFIG + 1), "a config")


@pytest.mark.parametrize("size", [[10**9, 32], [32], "32", [True, 32], [0, 32], None])
def test_an_image_size_is_two_numbers(tmp_path: Path, size: object) -> None:
    saved = {"editor_config": yaml.safe_dump(HONEST), "picture_size": size, "ema": {}, "state_dict": {}}
    torch.save(saved, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="height and width in pixels are needed"):
        checkpoint.read(tmp_path / "last.ckpt")


def test_of_all_names_in_the_libraries_only_those_of_conf_model_are_accepted() -> None:
    """Every callable of every module that is loaded, by each of its names."""
    for name in ("torch.hub", "torch.utils.collect_env", "torch.distributed.run", "diffusers", "peft"):
        importlib.import_module(name)
    allowed, accepted, tried = set(trust.allowed_classes()), set(), 0
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in ("src", "torch", "diffusers", "transformers", "peft"):
            continue
        for attribute, value in list(vars(module).items()) if inspect.ismodule(module) else ():
            if callable(value):
                tried += 1
                target = f"{name}.{attribute}"
                marks = trust.allowed_classes()[target].marks if target in allowed else {}
                accepted |= set() if list(trust.problems({"_target_": target, **marks}, ())) else {target}
    assert tried > 20_000
    assert accepted <= allowed
    assert {"src.editor.Editor", "peft.LoraConfig", "diffusers.UNet2DConditionModel"} <= accepted


def test_the_list_is_what_conf_model_names_and_no_runner_is_in_it() -> None:
    ours = {name for name in trust.allowed_classes() if name.startswith("src.")}
    assert trust.allowed_classes().keys() - ours == {
        "diffusers.UNet2DConditionModel",
        "peft.LoraConfig",
        "transformers.BitsAndBytesConfig",
    }
    homes = ("editor", "backbones", "conditioning", "diffusion", "synthetic", "reward_models")
    assert {name.split(".")[1] for name in ours} <= set(homes)
    lora = trust.allowed_classes()["peft.LoraConfig"]
    assert set(lora.arguments()) == {"r", "lora_alpha", "lora_dropout", "target_modules"}


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("model/backbone=tiny_transformer", "model/process=posterior"),
        ("model/backbone=smartedit_tiny", "model/integration=both_random"),
        ("model/backbone=inspix2pix", "+model/lora=attention", "model/process=ddpm"),
        ("model/backbone=smartedit", "model/integration=released", "model/reward_encoder=released"),
        ("model/backbone=smartedit", "model/reader@model.backbone.reader=llava"),
        ("model/integration=none", "model/process=preconditioned"),
    ],
)
def test_every_choice_of_conf_model_is_allowed(overrides: tuple[str, ...]) -> None:
    tree: Any = OmegaConf.to_container(config(*overrides).model, resolve=True)
    trust.check_model(trust.plain_tree(OmegaConf.to_yaml(tree), "a config"), "a config")


def test_code_of_ones_own_is_named_and_opened_by_name() -> None:
    tree = honest() | {"process": {"_target_": "my_package.flows.Flow", "_args_": [1], "steps": 10**9}}
    with pytest.raises(ValueError, match=r"'my_package.flows.Flow' at process.*say trust=\[my_package\]"):
        trust.check_model(tree, "x")
    for opened in ("my_package", "my_package.flows", "my_package.flows.Flow"):
        trust.check_model(tree, "x", [opened])
    with pytest.raises(ValueError, match="my_package"):
        trust.check_model(tree, "x", ["my_pack"])
    tree["process"]["steps"] = {"_target_": "torch.hub.load"}
    with pytest.raises(ValueError, match=r"torch\.hub\.load"):
        trust.check_model(tree, "x", ["my_package"])


def test_arguments_of_an_allowed_class_are_opened_by_its_name() -> None:
    tree = honest()
    tree["backbone"]["lora"] = {**LORA, "use_rslora": True}
    assert trust.needed_trust(tree) == ["peft.LoraConfig", "src.backbones.tiny.TinyBackbone"]
    trust.check_model(tree, "x", ["peft.LoraConfig", "src.backbones.tiny.TinyBackbone"])


@pytest.mark.parametrize(
    "entry", ["torch", "os", "src", "peft", "torch.hub.load", "a b", "", "subprocess.Popen"]
)
def test_libraries_are_not_opened(entry: str) -> None:
    with pytest.raises(ValueError, match="trust="):
        trust.check_trust([entry])


def test_a_text_is_no_list_of_names() -> None:
    with pytest.raises(ValueError, match=r"give a list, trust=\[my_package\]"):
        trust.check_trust("my_package")
