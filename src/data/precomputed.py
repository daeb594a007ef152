"""Conditions that src/precompute.py encoded before training, so that neither autoencoder nor text encoder
must be in memory.

    CACHE/request.json               everything that the rest depends on
    CACHE/rows.jsonl                 one FileIdentity per row
    CACHE/texts.json                 the distinct texts, in order
    CACHE/latents-00000.safetensors  original, mean, std (rows, augmentations, c, h, w),
                                     check (rows, augmentations), and for SmartEdit:
                                     tokens (rows, augmentations, q, d),
                                     stem_bias (rows, augmentations, s, g, g)
    CACHE/texts-00000.safetensors    tokens (texts, l, d), mask (texts, l), check (texts,)

Scores are not kept: trainings that use the reward differently share a cache. Every file is complete or
absent; `check` holds the crc32 of each entry, which is verified on every read.
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
from src.data.collate import stack_rewards
from src.data.order import SampleIndex
from src.data.rows import DatasetRow, RowSource
from src.data.transforms import Transform
from src.differences import differing_leaves
from src.files import not_written, replacing
from src.records import PERSPECTIVES, Case, Feedback, Reward, Triplet, three

REQUEST, ROWS, TEXTS = "request.json", "rows.jsonl", "texts.json"
FORMAT = 2
"""2: images in the colours of their profiles, and other texts keep a pair from being mirrored."""

LATENTS = ("original", "mean", "std")
READING = ("tokens", "stem_bias")
"""Added by backbones that read image and instruction together; the request of such a cache says so."""
RERUN = "delete it and give the same src.precompute command again"


class FileIdentity(NamedTuple):
    """Everything that a row's entries depend on.

    Attributes:
        id: of the triplet.
        original, edited: sha256 of the encoded images.
        texts: sha256 of instruction and feedback, which together decide whether a pair may be mirrored.
        stamps: size in bytes and modification time in nanoseconds of both files; empty for images inside a
            table. Files with unchanged stamps are not read again.
    """

    id: str
    original: str
    edited: str
    texts: str
    stamps: tuple[int, ...]


def file_identity(row: DatasetRow, known: FileIdentity | None = None) -> FileIdentity:
    """Identify a row; reuse the digests of `known` if its files are unchanged. Raises FileNotFoundError."""
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
    """Return the three feedback texts of a reward."""
    return None if reward is None else three([verdict.feedback for verdict in reward.verdicts], "feedback")


def rows_digest(identities: Iterable[FileIdentity]) -> str:
    """Return the sha256 over identities in order, without file times."""
    digest = hashlib.sha256()
    for identity in identities:
        digest.update(json.dumps(identity[:4]).encode())
    return digest.hexdigest()


def row_difference(cached: Sequence[FileIdentity], here: Sequence[FileIdentity]) -> str | None:
    """Describe the first difference between the rows of a cache and of the data; None if there is none."""
    old, new = {row.id for row in cached}, {row.id for row in here}
    added = [row.id for row in here if row.id not in old]
    gone = [row.id for row in cached if row.id not in new]
    if added:
        return f"{len(added)} rows of the data are not in the cache, the first is {added[0]!r}"
    if gone:
        return f"{len(gone)} rows of the cache are not in the data, the first is {gone[0]!r}"
    for before, after in zip(cached, here, strict=True):
        if before.id != after.id:
            return (
                f"the rows are in another order: the cache has {before.id!r} where the data has {after.id!r}"
            )
        for name in ("original", "edited", "texts"):
            if getattr(before, name) != getattr(after, name):
                return f"{name} of row {after.id!r} changed since"
    return None


def texts_to_encode(rows: Iterable[tuple[str, Feedback | None]], windows: Sequence[Windows]) -> list[str]:
    """List every distinct text that a training may request: the null instruction, "None" in each layout,
    instructions, feedback in each layout.

    Args:
        rows: instruction and feedback of each row.
        windows: the layouts.
    """
    nothing = three(["None"] * len(PERSPECTIVES), "feedback")
    texts = dict.fromkeys(["", *(text for layout in windows for text in feedback_windows(nothing, layout))])
    for instruction, feedback in rows:
        texts[instruction] = None
        if feedback is not None:
            texts.update(
                dict.fromkeys(text for layout in windows for text in feedback_windows(feedback, layout))
            )
    return list(texts)


def describe_transform(transform: Transform | None) -> dict[str, Any]:
    """Describe a transform by its settings, and by the sha256 of its results for a fixed pair and some seeds,
    as its code may change, too.
    """
    if transform is None:
        return {"name": "none"}
    image = np.arange(3 * 61 * 83, dtype=np.uint32).reshape(61, 83, 3) * 2654435761 >> 24
    triplet = Triplet(
        Case("probe", image.astype(np.uint8), "make it night", "", "probe"), image[::-1].astype(np.uint8)
    )
    digest = hashlib.sha256()
    for seed in range(4):
        result = transform(triplet, None, seed)
        digest.update(result.case.original.tobytes() + result.edited.tobytes())
    settings = {
        name: value if isinstance(value, int | float | str) else repr(value)
        for name, value in vars(transform).items()
    }
    return {"name": type(transform).__name__, **settings, "result": digest.hexdigest()}


def request_differences(cached: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """List where two requests differ, as "transform.size is 16 in the cache and 24 here"."""
    return [
        f"{name} is {_short(old)} in the cache and {_short(new)} here"
        for name, old, new in differing_leaves(cached, here)
    ]


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == hashlib.sha256().digest_size * 2 else text


def request_digest(request: Mapping[str, Any]) -> str:
    """Identify a request; every shard carries the digest of its own."""
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def shard_name(kind: str, number: int) -> str:
    """Name the file of a shard; `kind` is "latents" or "texts"."""
    return f"{kind}-{number:05d}.safetensors"


def checksum(*parts: Tensor) -> int:
    """Compute the crc32 over the bytes of tensors."""
    value = 0
    for part in parts:
        value = zlib.crc32(part.contiguous().numpy().data, value)
    return value


def write_shard(path: Path, tensors: Mapping[str, Tensor], request: Mapping[str, Any]) -> None:
    """Write a shard atomically, with the digest of its request. Raises NotWrittenError."""
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
    """A row with its encoded images: latents, each (c, h, w), and for backbones that read image and
    instruction together, tokens (q, d) and stem bias (s, g, g).
    """

    row: DatasetRow
    original: Float[Tensor, "c h w"]
    mean: Float[Tensor, "c h w"]
    std: Float[Tensor, "c h w"]
    tokens: Float[Tensor, "q d"] | None = None
    stem_bias: Float[Tensor, "s g g"] | None = None


def entry_names(request: Mapping[str, Any]) -> tuple[str, ...]:
    """List the tensors that a cache keeps of each crop."""
    return LATENTS + READING if request.get("reading") else LATENTS


@final
class PrecomputedConditions:
    """A finished cache. Each process maps a shard into memory when it first reads it.

    Args:
        folder: written by src.precompute.

    Raises:
        FileNotFoundError: no cache there.
        ValueError: a cache of another format.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        if not (self.folder / REQUEST).is_file():
            raise FileNotFoundError(
                f"no precomputed conditions in {folder}, which has no {REQUEST}: "
                f"write them with src.precompute output={folder}"
            )
        self.request = read_request(self.folder / REQUEST)
        if self.request.get("format") != FORMAT:
            raise ValueError(
                f"{folder} has format {self.request.get('format')}, this version reads {FORMAT}: "
                "precompute it again"
            )
        self.augmentations: int = self.request["augmentations"]
        self._digest = request_digest(self.request)
        self._opened: dict[str, dict[str, Any]] = {}
        self._place: dict[str, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_opened": {}}  # a memory map can't be sent to another process

    def check(
        self, rows: RowSource, transform: Transform | None, augmentations: int | None, part: bool = False
    ) -> None:
        """Compare the data with that of the cache.

        Args:
            augmentations: number of crops requested; None takes those of the cache.
            part: the rows were selected (data.only), so that those of the cache may be more.

        Raises:
            ValueError: the data differ, or a shard is missing, broken or of another request.
        """
        requested = {
            "augmentations": self.augmentations if augmentations is None else augmentations,
            "transform": describe_transform(transform),
        }
        self._refuse(request_differences({name: self.request[name] for name in requested}, requested))
        cached = read_identities(self.folder / ROWS)
        known = {row.id: row for row in cached}
        here = [
            file_identity(row, known.get(row.id)) for row in (rows.row(index) for index in range(len(rows)))
        ]
        difference = row_difference(
            [known[row.id] for row in here if row.id in known] if part else cached, here
        )
        self._refuse([] if difference is None else [difference])
        for kind, count in (("latents", len(cached)), ("texts", len(self.place))):
            for number in range(-(-count // self.request["rows_per_shard"])):
                self._shard(kind, number)

    def check_encoders(self, encoders: Mapping[str, str | None]) -> list[str]:
        """Compare the encoders with those of the cache; return the names of those that are not on this
        machine and can't be compared.

        Raises:
            ValueError: an encoder differs.
        """
        there = {name: digest for name, digest in encoders.items() if digest is not None}
        absent = [name for name in self.request["encoders"] if name not in there]
        cached = {name: digest for name, digest in self.request["encoders"].items() if name in there}
        self._refuse(request_differences({"encoders": cached}, {"encoders": there}))
        return absent

    def check_windows(self, windows: Windows) -> None:
        """Raise ValueError if feedback was not encoded in this layout."""
        if windows not in self.request["windows"]:
            self._refuse(
                [
                    f"feedback is laid out {' and '.join(self.request['windows'])} in the cache "
                    f"and {windows} here"
                ]
            )

    def _refuse(self, differing: Sequence[str]) -> None:
        if differing:
            raise ValueError(
                f"the conditions in {self.folder} are of something else: {'; '.join(differing[:3])}; "
                "precompute into another folder, or leave out data.precomputed"
            )

    @property
    def place(self) -> Mapping[str, int]:
        """Index of each text's tokens."""
        if self._place is None:
            self._place = {text: place for place, text in enumerate(read_texts(self.folder / TEXTS))}
        return self._place

    def places(self, ids: Sequence[str]) -> list[int]:
        """Where rows are in the cache. Raises ValueError for one that isn't, or as `read_identities`."""
        place = {row.id: index for index, row in enumerate(read_identities(self.folder / ROWS))}
        missing = [id for id in ids if id not in place]
        if missing:
            self._refuse(
                [f"{len(missing)} rows of the data are not in the cache, the first is {missing[0]!r}"]
            )
        return [place[id] for id in ids]

    def latents(self, index: int, augmentation: int) -> tuple[Tensor, ...]:
        """Read one crop of a row: original, mean and standard deviation of the edited image, (c, h, w) each,
        and its reading if there is one; fp32.

        Raises:
            ValueError: a shard can't be read, or the bytes of an entry changed on disk.
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
        """Look up encoded texts, (n, l, d), fp32, on the CPU.

        Raises:
            ValueError: a text that was not encoded, or as `latents`.
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
                f"the text {text[:80]!r} is not among the {len(self.place)} in {self.folder}: "
                "precompute again, into another folder"
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
                f"{self.folder / shard_name(kind, number)} is corrupt, an entry has the checksum {found}, "
                f"not {int(expected.item())}: {RERUN}"
            )

    def _shard(self, kind: str, number: int) -> dict[str, Any]:
        """Open the tensors of a shard for slicing."""
        name = shard_name(kind, number)
        if name not in self._opened:
            shard = open_shard(self.folder / name, self._digest)
            names = shard.keys()  # of a shard, which is no dict
            self._opened[name] = {tensor: shard.get_slice(tensor) for tensor in names}
        return self._opened[name]


def open_shard(path: Path, digest: str) -> Any:
    """Map a shard into memory.

    Raises:
        FileNotFoundError: it has not been written yet.
        ValueError: it can't be read, or belongs to another request than the one with this digest.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} is not finished, {path.name} is missing: give the same src.precompute command "
            "again"
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
    """Read the request of a cache. Raises ValueError for a broken file."""
    try:
        request = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(
            f"{path} is broken ({error}), so the origin of {path.parent} is unknown: "
            "precompute into another folder"
        ) from error
    if not isinstance(request, dict):
        raise ValueError(
            f"{path} holds {str(request)[:60]}, so the origin of {path.parent} is unknown: "
            "precompute into another folder"
        )
    return request


def read_texts(path: Path) -> list[str]:
    """Read the distinct texts, in order. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} is not finished, {path.name} is missing: give the same src.precompute command "
            "again"
        )
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is broken ({error}): {RERUN}") from error


def read_identities(path: Path) -> list[FileIdentity]:
    """Read what `identity_lines` wrote. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path.parent} is not finished, {path.name} is missing: give the same src.precompute command "
            "again"
        )
    try:
        with path.open(encoding="utf-8") as file:
            return [
                FileIdentity(id, original, edited, texts, tuple(stamps))
                for id, original, edited, texts, stamps in map(json.loads, file)
            ]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is broken ({error}): {RERUN}") from error


def identity_lines(identities: Iterable[FileIdentity]) -> Iterator[str]:
    """Format identities as lines of JSON."""
    return (json.dumps(identity) + "\n" for identity in identities)


@final
class PrecomputedRows:
    """Rows with their latents, as the workers of a DataLoader see them; no image is read.

    Args:
        rows: texts and rewards of the triplets.
        precomputed: their latents; a sample in pass e takes crop e modulo the number of augmentations.
        part: the rows were selected, so their places in the cache are looked up by id.
    """

    def __init__(self, rows: RowSource, precomputed: PrecomputedConditions, part: bool = False) -> None:
        self.rows = rows
        self.precomputed = precomputed
        ids = [rows.id_of(index) for index in range(len(rows))] if part else []
        self.places: Sequence[int] = precomputed.places(ids) if part else range(len(rows))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, sample: SampleIndex) -> EncodedRow:
        """Return the row of a sample. Raises as `RowSource.row` and `PrecomputedConditions.latents`."""
        return EncodedRow(
            self.rows.row(sample.index),
            *self.precomputed.latents(
                self.places[sample.index], sample.epoch % self.precomputed.augmentations
            ),
        )


def collate_encoded(rows: Sequence[EncodedRow]) -> EncodedBatch:
    """Stack encoded rows. Raises ValueError as `stack_rewards`."""
    scores, feedback = stack_rewards([(encoded.row.id, encoded.row.reward) for encoded in rows])
    tokens = [encoded.tokens for encoded in rows if encoded.tokens is not None]
    biases = [encoded.stem_bias for encoded in rows if encoded.stem_bias is not None]
    reading = None
    if tokens:
        read = torch.stack(tokens)
        reading = Reading(TextTokens(read, torch.ones(read.shape[:2], dtype=torch.bool)), torch.stack(biases))
    return EncodedBatch(
        ids=[encoded.row.id for encoded in rows],
        original=torch.stack([encoded.original for encoded in rows]),
        edited=Moments(
            torch.stack([encoded.mean for encoded in rows]), torch.stack([encoded.std for encoded in rows])
        ),
        instructions=[encoded.row.instruction for encoded in rows],
        scores=scores,
        feedback=feedback,
        reading=reading,
    )
