"""Images of every kind: edited at the right size and the right way up, or refused in one sentence."""

import io
import json
import struct
import weakref
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from conftest import SMALL, config, small_editor
from omegaconf import OmegaConf

from src import checkpoint, edit
from src.editing import source_images
from src.editing.requests import EditRequest
from src.editing.source_images import SourceImage, UnusableImage, measure_sizes, read_ahead
from src.files import digest
from src.images import by_long_side_64, by_short_side, decode_image, framing_for, load_image, native
from src.records import TargetReward

RED, GREEN, BLUE, GREY = (250, 10, 10), (10, 250, 10), (10, 10, 250), (130, 130, 130)


def scene(height: int = 40, width: int = 60) -> PIL.Image.Image:
    """Red and green above, blue and grey below, so that any turn shows."""
    rows = [[RED, GREEN], [BLUE, GREY]]
    pixels = np.array(
        [[rows[y >= height // 2][x >= width // 2] for x in range(width)] for y in range(height)],
        dtype=np.uint8,
    )
    return PIL.Image.fromarray(pixels)


def with_alpha(mode: str) -> PIL.Image.Image:
    """The scene in a mode with transparency, and a transparent rim of 4 pixels."""
    clear = PIL.Image.new("L", (68, 48), 0)
    clear.paste(255, (4, 4, 64, 44))
    whole = PIL.Image.new("RGB", (68, 48), (90, 0, 90))
    whole.paste(scene(), (4, 4))
    whole.putalpha(clear)
    return whole.convert(mode)


def levels16() -> np.ndarray:
    return (np.asarray(scene().convert("L")).astype(np.uint16) * 257)[..., None].repeat(3, axis=2)


def png16(pixels: np.ndarray, size: tuple[int, int] | None = None) -> bytes:
    """A PNG with 16 bits a channel, which Pillow can't write: 1, 2, 3 or 4 channels; its header may lie about
    the size.
    """
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", *(size or (width, height)), 16, kind, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def stored(image: PIL.Image.Image, form: str, **settings: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **settings)
    return sink.getvalue()


def turned(orientation: int, form: str) -> bytes:
    """The scene as a camera held so would store it."""
    turns = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}
    seen = scene()
    for turn in turns.get(orientation, []):
        seen = seen.transpose(PIL.Image.Transpose(turn))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    return stored(seen, form, exif=exif, **({"quality": 95} if form == "JPEG" else {}))


COLOURS: dict[str, Callable[[], bytes]] = {
    "rgb.png": lambda: stored(scene(), "PNG"),
    "rgb.bmp": lambda: stored(scene(), "BMP"),
    "rgb.avif": lambda: stored(scene(), "AVIF", quality=95),
    "cmyk.jpg": lambda: stored(scene().convert("CMYK"), "JPEG", quality=95),
    "palette.png": lambda: stored(scene().quantize(4), "PNG"),
    "palette.gif": lambda: stored(scene().quantize(4), "GIF"),
    "clear_palette.png": lambda: stored(scene().quantize(5), "PNG", transparency=4),
    "animated.gif": lambda: stored(
        scene(), "GIF", save_all=True, append_images=[PIL.Image.new("RGB", (60, 40))] * 2
    ),
    "animated.webp": lambda: stored(
        scene(), "WEBP", save_all=True, append_images=[PIL.Image.new("RGB", (60, 40))] * 2, lossless=True
    ),
    "animated.png": lambda: stored(
        scene(), "PNG", save_all=True, append_images=[PIL.Image.new("RGB", (60, 40))] * 2
    ),
    "pages.tiff": lambda: stored(
        scene(), "TIFF", save_all=True, append_images=[PIL.Image.new("RGB", (9, 9))] * 2
    ),
    "clear_colour.png": lambda: stored(scene(), "PNG", transparency=(1, 2, 3)),
    **{
        f"turned{o}.{form.lower()}": partial(turned, o, form)
        for o in range(1, 9)
        for form in ("PNG", "JPEG", "WEBP", "TIFF")
    },
}
GREYS: dict[str, Callable[[], bytes]] = {
    "grey.png": lambda: stored(scene().convert("L"), "PNG"),
    "grey.jpg": lambda: stored(scene().convert("L"), "JPEG", quality=95),
    "alpha.png": lambda: stored(scene().convert("LA"), "PNG"),
    "sixteen.png": lambda: stored(PIL.Image.fromarray(levels16()[..., 0]), "PNG"),
    "sixteen.tiff": lambda: stored(PIL.Image.fromarray(levels16()[..., 0]), "TIFF"),
    "sixteen_rgb.png": lambda: png16(levels16()),
    "sixteen_alpha.png": lambda: png16(
        np.concatenate([levels16()[..., :1], np.full((40, 60, 1), 65535)], axis=2)
    ),
    "sixteen_rgba.png": lambda: png16(np.concatenate([levels16(), np.full((40, 60, 1), 65535)], axis=2)),
}
SIZES: dict[str, tuple[Callable[[], bytes], tuple[int, int]]] = {
    "dot.png": (lambda: stored(PIL.Image.new("RGB", (1, 1), RED), "PNG"), (32, 32)),
    "strip.png": (lambda: stored(PIL.Image.new("RGB", (7, 300), RED), "PNG"), (1368, 32)),
    "lying.png": (lambda: stored(PIL.Image.new("L", (300, 7)), "PNG"), (32, 1368)),
    "bits.png": (lambda: stored(PIL.Image.new("1", (50, 50), 1), "PNG"), (32, 32)),
    "huge.jpg": (lambda: stored(PIL.Image.new("L", (12_000, 9_000), 77), "JPEG"), (32, 40)),
}
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty.png": (lambda: b"", "not an image in a known format"),
    "text.jpg": (lambda: b"hello", "not an image in a known format"),
    "float.tiff": (lambda: stored(PIL.Image.new("F", (5, 5)), "TIFF"), "32-bit grey"),
    "deep.tiff": (lambda: stored(PIL.Image.new("I", (5, 5)), "TIFF"), "32-bit grey"),
    "cut.png": (lambda: COLOURS["rgb.png"]()[:60], "is not a readable image"),
    "cut.jpg": (lambda: stored(scene(400, 600), "JPEG")[:4000], "is not a readable image .*truncated"),
    "bomb.png": (lambda: png16(np.zeros((1, 1, 1)), (20_000, 10_000)), "exceeds limit"),
    "thread.png": (
        lambda: stored(PIL.Image.new("1", (1, 5000)), "PNG"),
        "would be edited at 32x160000 pixels, more than most_pixels",
    ),
}


@pytest.fixture(scope="module")
def editor_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "editor"
    checkpoint.export(
        folder, OmegaConf.to_yaml(config(*SMALL).model, resolve=True), (32, 32), small_editor().state_dict()
    )
    return folder


@pytest.mark.parametrize(
    "framing",
    [native, partial(by_short_side, pixels=20), partial(by_long_side_64, pixels=64)],
    ids=["keep", "20", "64"],
)
@pytest.mark.parametrize("name", [*COLOURS, *GREYS])
def test_the_right_way_up_in_the_right_colours(name: str, framing: Callable) -> None:
    data = io.BytesIO((COLOURS | GREYS)[name]())
    height, width = framing(40, 60).size
    image = decode_image(data, name, framing)
    assert image.shape == (height, width, 3)
    corners = image[[2, 2, -3, -3], [2, -3, 2, -3]].astype(int)
    expected = np.array([RED, GREEN, BLUE, GREY])
    if name in GREYS:
        expected = (
            np.asarray(scene().convert("L"))[[2, 2, -3, -3], [2, -3, 2, -3]]
            .astype(int)[:, None]
            .repeat(3, axis=1)
        )
    assert np.abs(corners - expected).max() <= (
        25 if name.endswith((".jpeg", ".jpg", ".webp", ".avif")) else 2
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_white_and_what_lies_below_it_does_not_bleed(mode: str) -> None:
    made = with_alpha("RGBA").quantize(8) if mode == "P" else with_alpha(mode)
    image = decode_image(io.BytesIO(stored(made, "PNG")), "x", partial(by_short_side, pixels=24)).astype(int)
    assert (image[0] >= 254).all()
    rim = image[3:-3, 0]
    assert (rim >= 254).all()
    # between white and red there is no purple: green and blue stay together
    if mode != "LA":
        assert np.abs(image[6, :8, 1] - image[6, :8, 2]).max() <= 3


def test_a_huge_jpeg_is_decoded_small_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    ramps = np.stack(
        [*np.meshgrid(np.linspace(0, 255, 1210), np.linspace(0, 255, 907)), np.full((907, 1210), 99.0)],
        axis=2,
    )
    stored_ramps = stored(PIL.Image.fromarray(ramps.astype(np.uint8)), "JPEG", quality=95)
    for framing in (partial(by_short_side, pixels=64), partial(by_long_side_64, pixels=128)):
        whole = decode_image(io.BytesIO(stored_ramps), "x", framing).astype(int)
        with monkeypatch.context() as patched:
            patched.setattr("src.images.HUGE", 1000)
            small = decode_image(io.BytesIO(stored_ramps), "x", framing).astype(int)
        assert small.shape == whole.shape
        assert np.abs(small - whole).max() <= 3


def test_every_kind_is_edited_or_refused(editor_folder: Path, tmp_path: Path) -> None:
    good = {name: (write, (32, 48)) for name, write in (COLOURS | GREYS).items()} | SIZES
    bad = {name: (write, None) for name, (write, _) in REFUSED.items()}
    rows = []
    for name, (write, _) in (good | bad).items():
        (tmp_path / name).write_bytes(write())
        rows.append(json.dumps({"image": name, "instruction": "make it night", "output": name}))
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    out = tmp_path / "out"
    asked = [
        f"checkpoint={editor_folder}",
        f"list={tmp_path}/rows.jsonl",
        f"output={out}",
        "sampler.steps=1",
        "on_error=skip",
        "batch_size=16",
    ]
    edit.main(config(*asked, name="edit"))
    for name, (_, size) in good.items():
        assert (name, load_image(out / f"{name.removesuffix('.png')}.png").shape[:2]) == (name, size)
    listed = {
        entry["id"]: entry["reason"]
        for entry in map(json.loads, (out / "skipped.jsonl").read_text().splitlines())
    }
    assert sorted(listed) == sorted(name.removesuffix(".png") for name in bad)
    # the same scene however it was stored and turned: the same image goes in
    digests = {
        name: load_image(tmp_path / name).tobytes()
        for name in COLOURS
        if name.startswith("turned") and name.endswith("png")
    }
    assert len(set(digests.values())) == 1


@pytest.mark.parametrize("name", list(REFUSED))
def test_one_sentence_says_what_is_wrong(
    editor_folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(checkpoint, "load_editor", loaded)
    write, message = REFUSED[name]
    (tmp_path / name).write_bytes(write())
    asked = [
        f"checkpoint={editor_folder}",
        f"image={tmp_path / name}",
        f"output={tmp_path}/out",
        "instruction=x",
    ]
    with pytest.raises(ValueError, match=message) as refused:
        edit.main(config(*asked, name="edit"))
    assert name in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def requests_in(folder: Path, count: int) -> list[EditRequest]:
    for index in range(count):
        scene(40, 60 + index % 3).save(folder / f"{index:02d}.png")
    return [
        EditRequest(f"{index:02d}", folder / f"{index:02d}.png", "x", 0, TargetReward(), "x")
        for index in range(count)
    ]


def test_no_more_than_two_batches_are_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref] = []
    most = 0

    def watched(path: Path, framing: Callable) -> np.ndarray:
        image = load_image(path, framing)
        alive.append(weakref.ref(image))
        return image

    monkeypatch.setattr(source_images, "load_image", watched)
    looks = [
        look
        for look in measure_sizes(requests_in(tmp_path, 24), native, 10_000)
        if isinstance(look, SourceImage)
    ]
    assert alive == []  # headers only
    batches = [looks[first : first + 3] for first in range(0, 24, 3)]
    seen = []
    for batch in read_ahead(
        [[look for look in looks if look.size == batch[0].size][:3] for batch in batches],
        lambda _: True,
        native,
        print,
    ):
        seen += [each.photograph.request.id for each in batch]
        assert all(each.digest == digest(each.photograph.request.source) for each in batch)
        most = max(most, sum(reference() is not None for reference in alive))
    assert len(seen) == 24
    assert most <= 9  # the batch before, which the loop still holds, this one, and the one ahead


def test_where_none_that_is_wanted_can_be_read_the_others_are_not(tmp_path: Path) -> None:
    looks = [
        look
        for look in measure_sizes(requests_in(tmp_path, 3), native, 10_000)
        if isinstance(look, SourceImage)
    ]
    (tmp_path / "01.png").write_bytes((tmp_path / "01.png").read_bytes()[:60])
    told: list[UnusableImage] = []
    (batch,) = read_ahead([looks], lambda photograph: photograph.request.id != "00", native, told.append)
    assert [each.photograph.request.id for each in batch] == ["00", "02"]
    (batch,) = read_ahead([looks], lambda photograph: photograph.request.id == "01", native, told.append)
    assert batch == []
    assert [broken.request.id for broken in told] == ["01", "01"]
    scene(20, 20).save(tmp_path / "02.png")
    (batch,) = read_ahead([looks[2:]], lambda _: True, native, told.append)
    assert "changed since it was measured" in told[-1].reason


def test_sizes_of_every_resize() -> None:
    assert framing_for("keep", 32)(90, 150).size == (90, 150)
    assert framing_for("trained", 32)(90, 150).size == (32, 53)
    assert framing_for(64, 32)(90, 150).size == (64, 107)
    assert framing_for("long_side_64:512", 32)(90, 150).size == (320, 512)
    assert framing_for("area:10000", 32)(200, 300).size == (81, 122)
    assert framing_for("area:10000", 32)(50, 70).size == (50, 70)
    for height in range(1, 200):  # 49 * (64 / 49) is less than 64
        assert min(framing_for("long_side_64:64", 32)(height, height + 3).size) >= 64
