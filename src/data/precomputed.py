"""Conditions that were encoded before the training (src/precompute.py), so that no autoencoder and no text
encoder has to be in memory.

    CACHE/request.json               everything that the rest depends on
    CACHE/rows.jsonl                 one Fingerprint per row
    CACHE/texts.json                 the distinct texts, in order
    CACHE/latents-00000.safetensors  original, mean, std (rows, augmentations, c, h, w), check (rows, augmentations)
                                     and for SmartEdit: tokens (rows, augmentations, q, d), stem_bias (rows, augmentations, s, g, g)
    CACHE/texts-00000.safetensors    tokens (texts, l, d), mask (texts, l), check (texts,)

Scores are not kept: trainings that differ in how they use the reward share a cache. Every file is whole or
not there; `check` holds the crc32 of each entry, which is compared whenever it is read.
"""

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from src.batch import EncodedBatch, Moments, Reading, TextTokens
from src.conditioning.reward_encoder import Windows, feedback_windows
from src.data.dataset import stack_rewards
from src.data.order import SampleIndex
from src.data.rows import DatasetRow, RowSource
from src.data.transforms import Transform
from src.differences import differing_leaves
from src.files import not_written, replacing
from src.records import PERSPECTIVES, Case, Feedback, Reward, Triplet, three

REQUEST, ROWS, TEXTS = "request.json", "rows.jsonl", "texts.json"
FORMAT = 1
LATENTS = ("original", "mean", "std")
READING = ("tokens", "stem_bias")
"""What backbones add that read image and instruction together; such a cache says so in its request."""
RERUN = "delete it and give the same src.precompute command again"


class FileIdentity(NamedTuple):
    """What a row's entries depend on.

    Attributes:
        id: of the triplet.
        original, edited: sha256 of the encoded images.
        texts: sha256 of instruction and feedback; the latter decides with the former whether a pair may be
            mirrored.
        stamps: size in bytes and time of change in nanoseconds of both files, empty for images inside a
            table. Files whose stamps are the same are not read again.
    """

    id: str
    original: str
    edited: str
    texts: str
    stamps: tuple[int, ...]


def file_identity(row: DatasetRow, known: FileIdentity | None = None) -> FileIdentity:
    """A row's fingerprint; digests are taken from `known` if its files have not been touched since. Raises
    FileNotFoundError.
    """
    stamps = tuple(
        number
        for image in (row.original, row.edited)
        if image.content is None
        for number in _stamp(Path(image.where))
    )
    texts = hashlib.sha256(json.dumps([row.instruction, feedback_texts(row.reward)]).encode()).hexdigest()
    if known is not None and stamps and (known.id, known.stamps) == (row.id, stamps):
        return known._replace(texts=texts)
    return FileIdentity(row.id, row.original.digest(), row.edited.digest(), texts, stamps)


def _stamp(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


def feedback_texts(reward: Reward | None) -> Feedback | None:
    """The three texts of a reward."""
    return None if reward is None else three([verdict.feedback for verdict in reward.verdicts], "feedback")


def rows_digest(fingerprints: Iterable[FileIdentity]) -> str:
    """sha256 over fingerprints in order, wherever and whenever the files were written."""
    digest = hashlib.sha256()
    for each in fingerprints:
        digest.update(json.dumps(each[:4]).encode())
    return digest.hexdigest()


def row_difference(cached: Sequence[FileIdentity], here: Sequence[FileIdentity]) -> str | None:
    """How the rows of a cache differ from those of the data, or None."""
    old, new = {each.id: each for each in cached}, {each.id: each for each in here}
    added, gone = [id for id in new if id not in old], [id for id in old if id not in new]
    if added:
        return f"{len(added)} rows of the data are not in the cache, the first is {added[0]!r}"
    if gone:
        return f"{len(gone)} rows of the cache are not in the data, the first is {gone[0]!r}"
    for before, after in zip(cached, here, strict=True):
        if before.id != after.id:
            return f"the rows are in another order: {before.id!r} in the cache stands where the data has {after.id!r}"
        for name in ("original", "edited", "texts"):
            if getattr(before, name) != getattr(after, name):
                return f"{name} of row {after.id!r} changed since"
    return None


def texts_to_encode(said: Iterable[tuple[str, Feedback | None]], windows: Sequence[Windows]) -> list[str]:
    """Every distinct text that a training may ask for: the null instruction, "None" in each layout,
    instructions, feedback in each layout.

    Args:
        said: instruction and feedback of each row.
        windows: the layouts.
    """
    nothing = three(["None"] * len(PERSPECTIVES), "feedback")
    texts = dict.fromkeys(["", *(text for layout in windows for text in feedback_windows(nothing, layout))])
    for instruction, feedback in said:
        texts[instruction] = None
        if feedback is not None:
            texts.update(
                dict.fromkeys(text for layout in windows for text in feedback_windows(feedback, layout))
            )
    return list(texts)


def describe_transform(transform: Transform | None) -> dict[str, Any]:
    """A transform's settings, and sha256 of what it makes of a fixed pair with some seeds: its code may have
    changed as well.
    """
    if transform is None:
        return {"name": "none"}
    image = np.arange(3 * 61 * 83, dtype=np.uint32).reshape(61, 83, 3) * 2654435761 >> 24
    triplet = Triplet(
        Case("probe", image.astype(np.uint8), "make it night", "", "probe"), image[::-1].astype(np.uint8)
    )
    digest = hashlib.sha256()
    for seed in range(4):
        made = transform(triplet, None, seed)
        digest.update(made.case.original.tobytes() + made.edited.tobytes())
    settings = {
        name: value if isinstance(value, int | float | str) else repr(value)
        for name, value in vars(transform).items()
    }
    return {"name": type(transform).__name__, **settings, "result": digest.hexdigest()}


def request_differences(cached: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Settings in which two requests differ, as "transform.size is 16 in the cache and 24 here"."""
    return [
        f"{name} is {_short(old)} in the cache and {_short(new)} here"
        for name, old, new in differing_leaves(cached, here)
    ]


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == hashlib.sha256().digest_size * 2 else text


def request_digest(request: Mapping[str, Any]) -> str:
    """What every shard says it was written for."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def shard_name(kind: str, number: int) -> str:
    """The file of a shard; `kind` is "latents" or "texts"."""
    return f"{kind}-{number:05d}.safetensors"


def checksum(*parts: Tensor) -> int:
    """crc32 over the bytes of tensors."""
    value = 0
    for part in parts:
        value = zlib.crc32(part.contiguous().numpy().data, value)
    return value


def write_shard(path: Path, tensors: Mapping[str, Tensor], request: Mapping[str, Any]) -> None:
    """A shard, whole or not there, that says which request it is of. Raises NotWrittenError."""
    with replacing(path) as partial:
        try:
            save_file(
                {name: tensor.contiguous() for name, tensor in tensors.items()},
                partial,
                metadata={"request": request_digest(request)},
            )
        except SafetensorError as error:
            raise not_written(path, error) from error


class EncodedRow(NamedTuple):
    """A row, and what was made of its images; each latent (c, h, w), and with a reading its tokens (q, d)
    and stem bias (s, g, g).
    """

    row: DatasetRow
    original: Float[Tensor, "c h w"]
    mean: Float[Tensor, "c h w"]
    std: Float[Tensor, "c h w"]
    tokens: Float[Tensor, "q d"] | None = None
    stem_bias: Float[Tensor, "s g g"] | None = None


def entry_names(request: Mapping[str, Any]) -> tuple[str, ...]:
    """What a cache keeps of each crop."""
    return LATENTS + READING if request.get("reading") else LATENTS


@final
class PrecomputedConditions:
    """A finished cache. Shards are mapped into memory when they are first asked for, in each process by
    itself.

    Args:
        folder: what src.precompute wrote.

    Raises:
        FileNotFoundError: no cache there.
        ValueError: a cache of another format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / REQUEST).is_file():
            raise FileNotFoundError(
                f"no precomputed conditions in {folder}, which has no {REQUEST}: write them with src.precompute target={folder}"
            )
        self.request = read_request(self.folder / REQUEST)
        if self.request.get("format") != FORMAT:
            raise ValueError(
                f"{folder} has format {self.request.get('format')}, this version reads {FORMAT}: precompute it anew"
            )
        self.augmentations: int = self.request["augmentations"]
        self._digest = request_digest(self.request)
        self._opened: dict[str, dict[str, Any]] = {}
        self._place: dict[str, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": {}}  # a mapping of memory can't be sent to another process

    def check(self, rows: RowSource, transform: Transform | None, augmentations: int | None) -> None:
        """Compare the data with what the cache was made of.

        Args:
            augmentations: how many crops were asked for; None takes what there is.

        Raises:
            ValueError: what differs, or a shard that is missing, broken or of another request.
        """
        asked = {
            "augmentations": self.augmentations if augmentations is None else augmentations,
            "transform": describe_transform(transform),
        }
        self._refuse(request_differences({name: self.request[name] for name in asked}, asked))
        cached = read_identities(self.folder / ROWS)
        known = {each.id: each for each in cached}
        here = [
            file_identity(row, known.get(row.id)) for row in (rows.row(index) for index in range(len(rows)))
        ]
        difference = row_difference(cached, here)
        self._refuse([] if difference is None else [difference])
        for kind, count in (("latents", len(cached)), ("texts", len(self.place))):
            for number in range(-(-count // self.request["rows_per_shard"])):
                self._shard(kind, number)

    def check_encoders(self, encoders: Mapping[str, str | None]) -> list[str]:
        """Compare the encoders with those that made the cache; the names of those that are not on this
        machine and can't be compared.

        Raises:
            ValueError: what differs.
        """
        there = {name: digest for name, digest in encoders.items() if digest is not None}
        absent = [name for name in self.request["encoders"] if name not in there]
        self._refuse(
            request_differences(
                {name: digest for name, digest in self.request["encoders"].items() if name in there},
                there,
                "encoders.",
            )
        )
        return absent

    def check_windows(self, windows: Windows) -> None:
        """Raise ValueError if feedback was not encoded in this layout."""
        if windows not in self.request["windows"]:
            self._refuse(
                [
                    f"feedback is laid out {' and '.join(self.request['windows'])} in the cache and {windows} here"
                ]
            )

    def _refuse(self, differing: Sequence[str]) -> None:
        if differing:
            raise ValueError(
                f"the conditions in {self.folder} are of something else: {'; '.join(differing[:3])}; precompute into another folder, or leave out "
                "data.precomputed"
            )

    @property
    def place(self) -> Mapping[str, int]:
        """Where a text's tokens stand."""
        if self._place is None:
            self._place = {text: place for place, text in enumerate(read_texts(self.folder / TEXTS))}
        return self._place

    def latents(self, index: int, augmentation: int) -> tuple[Tensor, ...]:
        """Original, mean and standard deviation of the edited image, (c, h, w) each, of one crop of a row,
        and its reading if there is one; fp32.

        Raises:
            ValueError: a shard that can't be read, or an entry whose bytes changed on the disk.
        """
        number, row = divmod(index, self.request["rows_per_shard"])
        shard = self._shard("latents", number)
        entry = tuple(
            shard[name][row : row + 1, augmentation : augmentation + 1][0, 0]
            for name in entry_names(self.request)
        )
        self._verify(shard["check"][row : row + 1, augmentation : augmentation + 1], entry, "latents", number)
        return tuple(part.float() for part in entry)

    def tokens(self, texts: Sequence[str]) -> TextTokens:
        """What the text encoder made of these texts, (n, l, d), fp32, on the CPU.

        Raises:
            ValueError: a text that it was not asked about, or what `latents` raises.
        """
        distinct = list(dict.fromkeys(texts))
        found = [self._text(text) for text in distinct]
        row = {text: index for index, text in enumerate(distinct)}
        rows = torch.tensor([row[text] for text in texts])
        return TextTokens(
            torch.stack([tokens for tokens, _ in found]).float()[rows],
            torch.stack([mask for _, mask in found])[rows],
        )

    def _text(self, text: str) -> tuple[Tensor, Tensor]:
        if text not in self.place:
            raise ValueError(
                f"the text {text[:80]!r} is not among the {len(self.place)} in {self.folder}: precompute it anew, into another folder"
            )
        number, row = divmod(self.place[text], self.request["rows_per_shard"])
        shard = self._shard("texts", number)
        tokens, mask = (shard[name][row : row + 1][0] for name in ("tokens", "mask"))
        self._verify(shard["check"][row : row + 1], (tokens, mask), "texts", number)
        return tokens, mask

    def _verify(self, expected: Tensor, parts: tuple[Tensor, ...], kind: str, number: int) -> None:
        found = checksum(*parts)
        if found != expected.item():
            raise ValueError(
                f"{self.folder / shard_name(kind, number)} is corrupt, an entry has the checksum {found}, not {int(expected.item())}: {RERUN}"
            )

    def _shard(self, kind: str, number: int) -> dict[str, Any]:
        """Its tensors, to be cut out of the file."""
        name = shard_name(kind, number)
        if name not in self._opened:
            shard = open_shard(self.folder / name, self._digest)
            self._opened[name] = {tensor: shard.get_slice(tensor) for tensor in shard.keys()}  # noqa: SIM118  # it is no dict
        return self._opened[name]


def open_shard(path: Path, digest: str) -> Any:
    """A shard, mapped into memory.

    Raises:
        FileNotFoundError: it has not been written yet.
        ValueError: it can't be read, or was written for another request than the one with this digest.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} is not finished, {path.name} is missing: give the same src.precompute command again"
        )
    try:
        shard = safe_open(path, framework="pt").__enter__()
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} can't be read, it may be truncated ({error}): {RERUN}") from error
    written_for = (shard.metadata() or {}).get("request")
    if written_for != digest:
        raise ValueError(
            f"{path} was written for another request ({_short(written_for)}, not {_short(digest)}): {RERUN}"
        )
    return shard


def read_request(path: Path) -> dict[str, Any]:
    """What a cache was written for. Raises ValueError for a file that is broken."""
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is broken ({error}), so nobody can say what {path.parent} was made of: precompute into another folder"
        ) from error
    if not isinstance(request, dict):
        raise ValueError(
            f"{path} holds {str(request)[:60]}, so nobody can say what {path.parent} was made of: precompute into another folder"
        )
    return request


def read_texts(path: Path) -> list[str]:
    """The distinct texts, in order. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} is not finished, {path.name} is missing: give the same src.precompute command again"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is broken ({error}): {RERUN}") from error


def read_identities(path: Path) -> list[FileIdentity]:
    """What `lines_of` made. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} is not finished, {path.name} is missing: give the same src.precompute command again"
        )
    try:
        with path.open(encoding="utf-8") as file:
            return [
                FileIdentity(id, original, edited, texts, tuple(stamps))
                for id, original, edited, texts, stamps in map(json.loads, file)
            ]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is broken ({error}): {RERUN}") from error


def identity_lines(fingerprints: Iterable[FileIdentity]) -> Iterator[str]:
    """Fingerprints as lines of JSON."""
    return (json.dumps(each) + "\n" for each in fingerprints)


@final
class PrecomputedRows:
    """Rows with their latents, as the workers of a DataLoader see them; no image is read.

    Args:
        rows: the triplets' texts and rewards.
        precomputed: their latents. A visit in pass e takes crop e modulo the number of augmentations.
    """

    def __init__(self, rows: RowSource, precomputed: PrecomputedConditions) -> None:
        self.rows = rows
        self.precomputed = precomputed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, visit: SampleIndex) -> EncodedRow:
        """The row of a visit. Raises as `RowSource.row` and `Precomputed.latents`."""
        return EncodedRow(
            self.rows.row(visit.index),
            *self.precomputed.latents(visit.index, visit.epoch % self.precomputed.augmentations),
        )


def collate_encoded(rows: Sequence[EncodedRow]) -> EncodedBatch:
    """Stack encoded rows. Raises ValueError as `stacked_rewards`."""
    scores, feedback = stack_rewards([(each.row.id, each.row.reward) for each in rows])
    tokens, biases = (
        [each.tokens for each in rows if each.tokens is not None],
        [each.stem_bias for each in rows if each.stem_bias is not None],
    )
    reading = None
    if tokens:
        read = torch.stack(tokens)
        reading = Reading(TextTokens(read, torch.ones(read.shape[:2], dtype=torch.bool)), torch.stack(biases))
    return EncodedBatch(
        ids=[each.row.id for each in rows],
        original=torch.stack([each.original for each in rows]),
        edited=Moments(torch.stack([each.mean for each in rows]), torch.stack([each.std for each in rows])),
        instructions=[each.row.instruction for each in rows],
        scores=scores,
        feedback=feedback,
        reading=reading,
    )
