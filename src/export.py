"""Export a trained editor with its model card: an InsPix2Pix or SmartEdit, with its reward modules, as a
diffusers pipeline folder that works without this repository; a small editor as an editor folder.

    python -m src.export checkpoint=runs/.../editor output=my-editor

    pipeline = DiffusionPipeline.from_pretrained(
        "my-editor", custom_pipeline="my-editor/pipeline.py", trust_remote_code=True
    )
    pipeline("make the glasses green", image, reward_scores=(5, 5, 5), reward_text=None).images[0]

diffusers' own StableDiffusionInstructPix2PixPipeline loads the same folder, without reward and language
model. In this project `checkpoint=my-editor` works like an editor/ folder.

    # a small editor at half the size, the averaged weights rounded
    python -m src.export checkpoint=runs/.../editor output=my-editor dtype=bfloat16
"""

import json
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src import launch
from src.files import replacing

DTYPES = ("float32", "bfloat16", "float16")
"""Of the weights of an editor folder."""


def main(cfg: DictConfig) -> None:
    """Load the editor and write its folder, with a model card.

    Raises:
        ValueError: checkpoint= or output= is missing, output= exists, a dtype that is none of DTYPES or is
            asked of a pipeline, or what src.pipeline refuses.
    """
    check_request(cfg)
    import torch

    from src import checkpoint
    from src.backbones.exportable import ExportableBackbone
    from src.pipeline import write_pipeline

    path, output = Path(cfg.checkpoint), Path(cfg.output)
    saved = checkpoint.read(path)
    editor = checkpoint.load_editor(path, cfg.weights, cfg.trust)
    height, width = saved["picture_size"]
    is_pipeline = isinstance(editor.backbone, ExportableBackbone)
    card = model_card(saved, run_folder_of_checkpoint(path), output.name, is_pipeline)
    if is_pipeline:
        if cfg.dtype != DTYPES[0]:
            raise ValueError(
                f"dtype={cfg.dtype} is for small editors: give torch_dtype when the pipeline is loaded"
            )
        write_pipeline(editor, saved["editor_config"], (height, width), card, output, saved["sampler"])
    else:
        tensors = editor.to(getattr(torch, cfg.dtype)).trained_state()
        with replacing(output) as partial:
            partial.mkdir()
            described = saved["editor_config"], (height, width), tensors, saved["sampler"]
            checkpoint.export(partial, *described)
            (partial / "README.md").write_text(card, encoding="utf-8")
    print(output)


def check_request(cfg: DictConfig) -> None:
    """Raise ValueError if the command lacks something or would overwrite a folder; builds nothing."""
    for name in ("checkpoint", "output"):
        if not cfg[name]:
            raise ValueError(f"{name}=... is missing; see the head of src/export.py for a command")
    if cfg.dtype not in DTYPES:
        raise ValueError(f"dtype={cfg.dtype} is none of {', '.join(DTYPES)}")
    if Path(cfg.output).exists():
        raise ValueError(f"output={cfg.output} exists already: give a new folder")


def run_folder_of_checkpoint(path: Path) -> Path:
    """The run folder of an editor/ or checkpoints/last.ckpt."""
    return path.parent if path.is_dir() else path.parent.parent


def model_card(saved: dict[str, Any], run: Path, name: str, is_pipeline: bool) -> str:
    """A model card of what the run recorded; anything else is "unknown"."""
    model: Any = OmegaConf.create(saved["editor_config"])
    record = json.loads((run / "run.json").read_text(encoding="utf-8")) if (run / "run.json").exists() else {}
    config: Any = {}
    if (
        run / ".hydra/config.yaml"
    ).exists():  # of another machine, perhaps: nothing it refers to is looked up
        config = OmegaConf.to_container(OmegaConf.load(run / ".hydra/config.yaml"))
    reports = sorted(run.glob("evaluation/*/*/report.md"))
    height, width = saved["picture_size"]
    smartedit = "base" in model.backbone
    base = (model.backbone.base if smartedit else model.backbone).get("pretrained") or "random weights"
    training = (
        OmegaConf.to_yaml(
            OmegaConf.create({key: config[key] for key in ("data", "algorithm") if key in config})
        ).strip()
        or "unknown"
    )
    scores = (
        "\n\n".join(report.read_text(encoding="utf-8").strip() for report in reports) or "Not evaluated yet."
    )
    rewarded = bool(model.get("integration"))
    does = [
        what
        for what, so in (
            ("is told which reward to aim for", rewarded),
            ("reads with a language model", smartedit),
        )
        if so
    ]
    told = f" that {' and '.join(does)}" if does else ""
    use = pipeline_use(name, rewarded, smartedit) if is_pipeline else folder_use(name)
    library = ["library_name: diffusers"] if is_pipeline else []
    head = ["---", f"base_model: {base}", *library, "pipeline_tag: image-to-image", "---"]
    steps, commit, hardware = (record.get(key, "unknown") for key in ("steps", "commit", "hardware"))
    body = f"""
# {name}

An instruction-based image editor{told}, trained with the multi-reward-editing framework.

- base model: {base}
- images: {height}x{width}
- steps: {steps}, commit {commit}, hardware {hardware}

## Use

{use}

## Data and recipe

```yaml
{training}
```

## Scores

{scores}
"""
    return "\n".join(head) + "\n" + body


def pipeline_use(name: str, rewarded: bool, smartedit: bool) -> str:
    """How a diffusers pipeline folder is used, as Markdown."""
    from src.pipeline import CODE

    code = f', custom_pipeline="{name}/{CODE}", trust_remote_code=True' if rewarded or smartedit else ""
    asked = ", reward_scores=(5, 5, 5), reward_text=None" if rewarded else ""
    return f"""```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("{name}"{code})
edit = pipeline("make it night", image{asked}).images[0]
```"""


def folder_use(name: str) -> str:
    """How an editor folder is used, as Markdown."""
    return f"""```bash
python -m src.edit checkpoint={name} image=photo.png instruction="make it night" output=edits
python -m src.evaluate checkpoint={name}
```"""


if __name__ == "__main__":
    launch.entry_point(main, "export")
