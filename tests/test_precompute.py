"""Conditions computed once: trains as the live path does, without the encoders' weights; a cache of anything
else is refused.
"""

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch
from backbones.pipelines import write_pipeline
from commands import only_error
from conftest import SMALL, config
from data.written import reward, write_tree
from hydra.utils import instantiate
from killing import Command, finished
from pytorch_lightning import Trainer
from run_folders import contents, losses
from safetensors.torch import load_file, save_file

from src.backbones.inspix2pix import InsPix2Pix
from src.callbacks.free_encoders import FreeEncoders
from src.data.order import SampleIndex
from src.data.precomputed import PrecomputedConditions, PrecomputedRows, collate_encoded
from src.reward_file import append_rewards


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A pipeline, a tree of 20 rows, their rewards and their cache."""
    folder = tmp_path_factory.mktemp("precompute")
    write_pipeline(folder / "pipeline")
    write_tree(folder / "tree", prompts=12)
    append_rewards(
        folder / "rewards.jsonl",
        [reward(f"{prompt:07d}/{seed}", score=float(prompt % 6)) for prompt in range(12) for seed in (7, 31)],
    )
    precompute(folder, folder / "cache")
    return folder


def settings(folder: Path, pipeline: str = "pipeline", tree: str = "tree") -> list[str]:
    return [
        "+experiment=reward_inspix2pix",
        f"model.backbone.pretrained={folder / pipeline}",
        f"data.dataset.folder={folder / tree}",
        "data.dataset.extension=png",
        "data.transform.size=16",
        "data.batch_size=2",
        "data.num_workers=0",
        "+rewards@data.rewards=reward_file",
        f"data.rewards.path={folder / 'rewards.jsonl'}",
    ]


def precomputing(folder: Path, target: Path, **environment: str) -> Command:
    arguments = [
        *settings(folder),
        f"output={target}",
        "data.augmentations=2",
        "rows_per_shard=3",
        "batch_size=4",
        "device=cpu",
    ]
    return Command("src.precompute", *arguments, log=folder / "log.txt", environment=environment)


def precompute(folder: Path, target: Path) -> None:
    assert precomputing(folder, target).ended() == 0, (folder / "log.txt").read_text()[-3000:]


def training(folder: Path, run: Path, *overrides: str, **places: str) -> list[str]:
    steps = [
        "trainer.precision=32-true",
        "trainer.max_steps=2",
        "trainer.accumulate_grad_batches=2",
        "trainer.log_every_n_steps=1",
    ]
    return [
        *settings(folder, **places),
        "trainer=cpu",
        *steps,
        "sampler.steps=2",
        f"hydra.run.dir={run}",
        *overrides,
    ]


def refused(folder: Path, tmp_path: Path, *overrides: str, **places: str) -> str:
    arguments = training(
        folder,
        tmp_path / "run",
        "~callbacks.previews",
        f"data.precomputed={folder / 'cache'}",
        *overrides,
        **places,
    )
    code = Command("src.train", *arguments, log=tmp_path / "log.txt").ended()
    return only_error((tmp_path / "log.txt").read_text(), code)


@pytest.mark.parametrize("windows", ["joined", "per_perspective"])
def test_losses_are_those_of_the_live_path_and_no_encoder_is_read(
    folder: Path, tmp_path: Path, windows: str
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(folder / "pipeline", bare)
    for part in ("vae", "text_encoder"):
        for weights in (bare / part).glob("*.safetensors"):
            weights.unlink()
    options = ["~callbacks.previews", f"model.reward_encoder.windows={windows}"]
    log = tmp_path / "log.txt"
    finished("src.train", *training(folder, tmp_path / "live", *options, "data.augmentations=2"), log=log)
    said = finished(
        "src.train",
        *training(
            folder, tmp_path / "cached", *options, f"data.precomputed={folder / 'cache'}", pipeline=str(bare)
        ),
        log=log,
    )
    assert "vae.weights, text_encoder.weights are not on this machine" in said
    assert len(losses(tmp_path / "live")) == 2
    assert losses(tmp_path / "cached") == pytest.approx(losses(tmp_path / "live"), rel=0, abs=1e-5)


def test_every_pass_takes_the_next_crop(folder: Path) -> None:
    made = []
    for option in ("data.augmentations=2", f"data.precomputed={folder / 'cache'}"):
        data = instantiate(config(*settings(folder), option).data)
        data.trainer = Trainer(
            accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_model_summary=False
        )
        made.append((data, list(islice(data.train_dataloader(), 30))))  # three passes over 20 rows
    backbone = instantiate(config(*settings(folder)).model.backbone)
    (_, live), (data, cached) = made
    for ours, theirs in zip(cached, live, strict=True):
        assert (ours.ids, ours.instructions, ours.feedback) == (
            theirs.ids,
            theirs.instructions,
            theirs.feedback,
        )
        assert torch.equal(ours.scores, theirs.scores)
        torch.testing.assert_close(ours.original, backbone.encode_image(theirs.original))
        noise = torch.randn(2, 4, 4, 4)
        torch.testing.assert_close(
            backbone.sample_latent(ours.edited, noise),
            backbone.encode_edited(theirs.edited, ours.original, noise),
        )
        texts = ["", *ours.instructions, "; ".join(ours.feedback[0]), ours.feedback[1][0]]
        tokens, expected = (
            data.on_after_batch_transfer(ours, 0).encode_text(texts),
            backbone.encode_text(texts),
        )
        torch.testing.assert_close(tokens.tokens, expected.tokens)
        assert torch.equal(tokens.mask, expected.mask)


def test_killed_and_started_again_it_writes_the_same_files(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert precomputing(folder, cache).killed_when(lambda: len(list(cache.glob("latents-*"))) >= 2)
    assert set(contents(folder / "cache")) - set(contents(cache))
    kept = {path: path.stat().st_mtime_ns for path in cache.glob("latents-*")}
    data = instantiate(config(*settings(folder), f"data.precomputed={cache}").data)
    with pytest.raises(FileNotFoundError, match=r"not finished, latents-.* is missing"):
        data.check(tmp_path / "listed.jsonl")
    precompute(folder, cache)
    assert contents(cache) == contents(folder / "cache")
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_two_ranks_write_the_files_of_one(folder: Path, tmp_path: Path) -> None:
    place = [
        {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"} for rank in ("0", "1")
    ]
    ranks = [precomputing(folder, tmp_path / "cache", **variables) for variables in place]
    assert [rank.ended() for rank in ranks] == [0, 0], (folder / "log.txt").read_text()[-3000:]
    assert contents(tmp_path / "cache") == contents(folder / "cache")


@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("data.transform.size=8", "transform.size is 16 in the cache and 8 here"),
        ("data.augmentations=3", "augmentations is 2 in the cache and 3 here"),
        ("data.dataset.split=all", "4 rows of the data are not in the cache, the first is '0000010/7'"),
    ],
)
def test_a_cache_of_other_data_is_refused(
    folder: Path, tmp_path: Path, override: str, difference: str
) -> None:
    data = instantiate(config(*settings(folder), f"data.precomputed={folder / 'cache'}", override).data)
    with pytest.raises(ValueError, match="are of something else") as caught:
        data.check(tmp_path / "listed.jsonl")
    assert difference in str(caught.value)


def test_a_selection_is_served_from_the_cache_of_all_rows(folder: Path, tmp_path: Path) -> None:
    ids = ["0000004/31", "0000001/7", "0000008/7"]
    chosen = tmp_path / "selection.jsonl"
    chosen.write_text("".join(json.dumps({"id": id}) + "\n" for id in ids))
    asked = (*settings(folder), f"data.precomputed={folder / 'cache'}")
    whole, part = (instantiate(config(*asked, *more).data) for more in ((), (f"data.only={chosen}",)))
    assert part.check(tmp_path / "listed.jsonl").rows == len(ids)
    served = PrecomputedRows(part.dataset, part.precomputed, part=True)
    all_served = PrecomputedRows(whole.dataset, whole.precomputed)
    by_id = {all_served.rows.id_of(index): index for index in range(len(all_served))}
    for index in range(len(ids)):
        one, other = (
            served[SampleIndex(index, 1)],
            all_served[SampleIndex(by_id[served.rows.id_of(index)], 1)],
        )
        assert one.row == other.row
        assert torch.equal(one.original, other.original)
        assert torch.equal(one.mean, other.mean)
    batch = collate_encoded([served[SampleIndex(index, 0)] for index in range(len(ids))])
    assert part.precomputed.tokens(batch.instructions).tokens.shape[0] == len(ids)
    (tmp_path / "tree").mkdir()
    shutil.copytree(folder / "tree", tmp_path / "tree", dirs_exist_ok=True)
    shutil.copy(tmp_path / "tree/0000002/7_1.png", tmp_path / "tree/0000001/7_1.png")
    changed = settings(folder, tree=str(tmp_path / "tree"))
    other = instantiate(config(*changed, *asked[-1:], f"data.only={chosen}").data)
    with pytest.raises(ValueError, match="edited of row '0000001/7' changed since"):
        other.check(tmp_path / "listed.jsonl")


def test_a_cache_of_another_image_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "tree", tmp_path / "tree")
    shutil.copy(tmp_path / "tree/0000001/7_1.png", tmp_path / "tree/0000000/7_1.png")
    data = instantiate(
        config(*settings(folder, tree=str(tmp_path / "tree")), f"data.precomputed={folder / 'cache'}").data
    )
    with pytest.raises(ValueError, match="edited of row '0000000/7' changed since"):
        data.check(tmp_path / "listed.jsonl")


def test_a_cache_of_another_autoencoder_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "pipeline", tmp_path / "other")
    weights = tmp_path / "other/vae/diffusion_pytorch_model.safetensors"
    save_file(
        {name: tensor + 0.01 for name, tensor in load_file(weights).items()},
        weights,
        metadata={"format": "pt"},
    )
    assert "encoders.vae.weights is" in refused(folder, tmp_path, pipeline=str(tmp_path / "other"))


def test_backbones_that_train_their_text_encoder_are_refused(folder: Path, tmp_path: Path) -> None:
    tiny = ["model/backbone=tiny", *SMALL]
    arguments = [override for override in settings(folder) if not override.startswith("model.backbone")]
    code = Command(
        "src.precompute", *arguments, *tiny, f"output={tmp_path / 'cache'}", log=tmp_path / "log.txt"
    ).ended()
    assert "TinyBackbone trains its text encoder" in only_error((tmp_path / "log.txt").read_text(), code)
    assert not (tmp_path / "cache").exists()
    arguments = [
        override
        for override in training(folder, tmp_path / "run")
        if not override.startswith("model.backbone")
    ]
    code = Command(
        "src.train", *arguments, *tiny, f"data.precomputed={folder / 'cache'}", log=tmp_path / "train.txt"
    ).ended()
    assert "trains its text encoder" in only_error((tmp_path / "train.txt").read_text(), code)


@pytest.mark.parametrize("kind", ["latents", "texts"])
def test_a_corrupt_shard_is_named(folder: Path, tmp_path: Path, kind: str) -> None:
    shutil.copytree(folder / "cache", tmp_path / "cache")
    shard = tmp_path / f"cache/{kind}-00000.safetensors"
    whole = shard.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = {
        name: tensor["data_offsets"][0]
        for name, tensor in json.loads(whole[8:header]).items()
        if name != "__metadata__"
    }
    place = header + places["mean" if kind == "latents" else "tokens"]
    shard.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])

    def read(cache: PrecomputedConditions) -> None:
        cache.latents(0, 0) if kind == "latents" else cache.tokens([""])

    with pytest.raises(ValueError, match=rf"{kind}-00000\.safetensors is corrupt"):
        read(PrecomputedConditions(tmp_path / "cache"))
    shard.write_bytes(whole[:-5])
    with pytest.raises(ValueError, match=rf"{kind}-00000\.safetensors can't be read, it may be truncated"):
        read(PrecomputedConditions(tmp_path / "cache"))


def test_a_text_that_was_not_encoded_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="'make it day' is not among the"):
        PrecomputedConditions(folder / "cache").tokens(["make it day"])


def test_a_layout_that_was_not_encoded_is_refused(folder: Path) -> None:
    cache = PrecomputedConditions(folder / "cache")
    cache.check_windows("per_perspective")
    cache.request["windows"] = ["joined"]
    with pytest.raises(ValueError, match="laid out joined in the cache and per_perspective here"):
        cache.check_windows("per_perspective")


def test_somebody_elses_folder_is_left_alone(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/thesis.txt").write_text("mine")
    command = precomputing(folder, tmp_path / "cache")
    assert command.ended() == 1
    assert "holds something already" in command.log.read_text().splitlines()[-1]
    assert list(contents(tmp_path / "cache")) == ["thesis.txt"]


def test_previews_borrow_the_encoders_and_give_them_back(folder: Path, tmp_path: Path) -> None:
    options = ["callbacks.previews.every_n_steps=1", f"data.precomputed={folder / 'cache'}"]
    finished("src.train", *training(folder, tmp_path / "run", *options), log=tmp_path / "log.txt")
    assert (tmp_path / "run/previews/step_000001.png").exists()
    algorithm = instantiate(config(*settings(folder)).algorithm)(
        editor=instantiate(config(*settings(folder)).model)
    )
    backbone = algorithm.editor.backbone
    assert isinstance(backbone, InsPix2Pix)
    backbone.encode_text([""])
    backbone.encode_image(torch.zeros(1, 3, 16, 16))
    FreeEncoders().on_train_batch_start(
        Trainer(accelerator="cpu", logger=False, enable_checkpointing=False), algorithm, None, 0
    )
    assert (backbone.vae.network, backbone.text_encoder.network) == (None, None)
