"""The local judge on tiny random models of both families: batches, place holders, adapters, probabilities,
seeds, and that garbage is no number.
"""

import asyncio
import io
import json
import math
import shutil
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from judges.tiny_vlm import FAMILIES, write_adapter, write_vlm
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

from src.judges.editscore import EditScoreRubric
from src.judges.limits import Limits
from src.judges.local_vlm import LocalVLM
from src.judges.parsing import UnusableReply, expected_score
from src.judges.question import AnswerSchema, CallFailed, ImagePart, Question, Reply, VLMClient
from src.judges.reseeded import Reseeded
from src.judges.rubric import PerspectiveRubric, Rubric
from src.judges.vlm_inputs import NetworkInputs
from src.judges.vlm_judge import VLMJudge
from src.judges.vlm_network import Decoding, TokenChoice, VLMNetwork, score_spans
from src.records import Case, Triplet

SIZES = ((40, 40), (60, 33), (90, 130))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("vlm")
    return {family: write_vlm(folder / family, family) for family in FAMILIES}


@pytest.fixture(scope="module")
def adapter(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_adapter(tmp_path_factory.mktemp("adapter"), models["qwen2_5_vl"])


def image(height: int, width: int, seed: int = 0) -> ImagePart:
    content = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(content, format="PNG")
    return ImagePart(content.getvalue(), "image/png", height, width)


def question(
    prompt: str, *sizes: tuple[int, int], schema: AnswerSchema | None = None, repeat: int = 0, again: int = 0
) -> Question:
    images = tuple(image(*size, seed) for seed, size in enumerate(sizes))
    return Question("id", "following", prompt, images, schema or AnswerSchema(), repeat, again)


QUESTIONS = [
    question("short", SIZES[0]),
    question("a longer question about two", SIZES[1], SIZES[2]),
    question("third", SIZES[2], SIZES[0]),
]


def ask(client: VLMClient, *questions: Question) -> list[Reply]:
    async def all_at_once() -> list[Reply]:
        try:
            return list(await asyncio.gather(*map(client.ask, questions)))
        finally:
            await client.close()

    return asyncio.run(all_at_once())


def small(model: Path, **settings: object) -> LocalVLM:
    return LocalVLM(str(model), **{"max_new_tokens": 8, "device": "cpu", "dtype": "float32", **settings})


@pytest.mark.parametrize("family", FAMILIES)
def test_place_holders_are_as_many_as_features_and_tokens_are_counted_exactly(
    models: dict[str, Path], family: str
) -> None:
    client = small(models[family])
    assert isinstance(client, VLMClient)
    client.network.load()
    for each in QUESTIONS:
        inputs = client.network.prepare(each)
        places = int((inputs.ids == client.network.config.image_token_id).sum())
        assert places == sum(int(grid.prod()) // 4 for grid in inputs.grids) == len(inputs.pixels) // 4
        assert client.tokens(each) == (len(inputs.ids), 8)
        kinds = client.network.pad([inputs])["mm_token_type_ids"]
        assert set(kinds.unique().tolist()) == {0, 1}
        assert int(kinds.sum()) == places
        side = client.network.images.patch_size * 2
        budget = client.network.images.size
        for grid, sent in zip(inputs.grids, each.images, strict=True):
            area = int(grid.prod()) * client.network.images.patch_size**2
            assert budget["shortest_edge"] - side**2 <= area <= budget["longest_edge"]
            assert int(grid[1]) / int(grid[2]) == pytest.approx(sent.height / sent.width, rel=0.6)
        (reply,) = ask(client, each)
        assert reply.input_tokens == len(inputs.ids)


@pytest.mark.parametrize("family", FAMILIES)
def test_inputs_are_those_of_the_librarys_processor(models: dict[str, Path], family: str) -> None:
    """Its expansion is called unbound: the whole processor can't be built without torchvision."""
    from transformers import Qwen2_5_VLProcessor, Qwen3VLProcessor

    client = small(models[family])
    kind = {"qwen2_5_vl": Qwen2_5_VLProcessor, "qwen3_vl": Qwen3VLProcessor}[family]

    class Parts:
        image_token = "<|image_pad|>"
        image_processor = client.network.images

    each = QUESTIONS[1]
    inputs = client.network.prepare(each)
    expanded = "".join(
        "<|vision_start|>"
        + kind.replace_image_token(Parts(), {"image_grid_thw": inputs.grids}, index)
        + "<|vision_end|>"
        for index in range(2)
    )
    text = f"<|im_start|>user\n{expanded}{each.prompt}<|im_end|>\n<|im_start|>assistant\n"
    assert inputs.ids.tolist() == client.network.words(text)["input_ids"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_answers_as_each_question_alone(models: dict[str, Path], family: str) -> None:
    client = small(models[family], batch_size=3, probabilities=3)
    together = ask(client, *QUESTIONS)
    for each, reply in zip(QUESTIONS, together, strict=True):
        (alone,) = ask(client, each)
        assert alone.text == reply.text
        assert (alone.input_tokens, alone.output_tokens, alone.finish) == (
            reply.input_tokens,
            reply.output_tokens,
            reply.finish,
        )
        for one, other in zip(alone.alternatives, reply.alternatives, strict=True):
            assert [token for token, _ in one] == [token for token, _ in other]
            assert [share for _, share in one] == pytest.approx([share for _, share in other], rel=1e-3)
    assert len({reply.text for reply in together}) > 1, (
        "answers that don't depend on the question test nothing"
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_of_a_padded_batch_are_those_of_the_questions_alone(
    models: dict[str, Path], family: str
) -> None:
    client = small(models[family])
    client.network.load()
    inputs = [client.network.prepare(each) for each in QUESTIONS]
    with torch.inference_mode():
        together = client.network._network(**client.network.pad(inputs)).logits[:, -1]
        for row, each in enumerate(inputs):
            alone = client.network._network(**client.network.pad([each])).logits[0, -1]
            torch.testing.assert_close(together[row], alone, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_written_step_by_step_is_what_reading_the_whole_says(models: dict[str, Path], family: str) -> None:
    """Caches, padding and three-dimensional positions: each token of a batch's answers is the most probable
    one after all that precedes it.
    """
    client = small(models[family], batch_size=3)
    for each, reply in zip(QUESTIONS, ask(client, *QUESTIONS), strict=True):
        written = json.loads(reply.raw)["tokens"]
        assert written, "an empty answer tests nothing"
        inputs = client.network.prepare(each)
        whole = NetworkInputs(torch.cat([inputs.ids, torch.tensor(written)]), inputs.pixels, inputs.grids)
        with torch.inference_mode():
            said = (
                client.network._network(**client.network.pad([whole]))
                .logits[0, len(inputs.ids) - 1 : -1]
                .argmax(-1)
            )
        assert said.tolist() == written


def test_probabilities_are_the_networks_own_with_the_written_token_first(models: dict[str, Path]) -> None:
    client = small(models["qwen3_vl"], probabilities=4)
    (reply,) = ask(client, QUESTIONS[0])
    assert "".join(choices[0][0] for choices in reply.alternatives) == reply.text or "\ufffd" in reply.text
    for choices in reply.alternatives:
        shares = [share for _, share in choices]
        assert len(choices) == 4
        assert sum(shares) <= 1 + 1e-6
        assert shares == sorted(shares, reverse=True), "at temperature 0 the most probable token is written"
    inputs = client.network.prepare(QUESTIONS[0])
    first = client.network._network(**client.network.pad([inputs])).logits[0, -1].softmax(-1)
    assert reply.alternatives[0][0][1] == pytest.approx(float(first.max()), rel=1e-4)


def test_what_is_drawn_depends_on_seed_and_repeat_and_not_on_the_batch(models: dict[str, Path]) -> None:
    drawn = {"temperature": 1.5, "max_new_tokens": 6, "probabilities": 1}
    client = small(models["qwen2_5_vl"], **drawn, batch_size=4)
    asked = [
        question("draw", SIZES[0], repeat=repeat, again=again) for repeat, again in ((0, 0), (1, 0), (0, 1))
    ]
    replies = ask(client, *asked, QUESTIONS[1])[:3]
    assert len({reply.text for reply in replies}) == 3
    assert [ask(client, each)[0].text for each in asked] == [reply.text for reply in replies]
    assert ask(small(models["qwen2_5_vl"], **drawn, seed=1), asked[0])[0].text != replies[0].text


def test_redrawn_answers_differ_where_something_is_drawn(models: dict[str, Path]) -> None:
    for temperature in (0.0, 1.5):
        client = small(models["qwen2_5_vl"], temperature=temperature, max_new_tokens=6)
        other = Reseeded(client)
        assert isinstance(other, VLMClient)
        assert other.fingerprint != client.fingerprint
        (first,), (second,) = ask(client, QUESTIONS[0]), ask(other, QUESTIONS[0])
        assert (first.text != second.text) == (temperature > 0)


def test_asked_again_at_temperature_0_it_answers_otherwise(models: dict[str, Path]) -> None:
    client = small(models["qwen3_vl"], batch_size=2, temperature_again=1.5)
    asked = [question("draw", SIZES[0], again=again) for again in (0, 1)]
    first, second = ask(client, *asked)
    assert first.text != second.text
    assert ask(client, asked[0])[0].text == first.text


def test_draws_follow_the_probabilities_and_the_limits() -> None:
    scores = torch.tensor([[0.0, 1.0, 2.0, -1.0]]).expand(2000, 4)
    ids = torch.zeros(2000, 1, dtype=torch.long)

    def shares(temperature: float = 1.0, **limits: float) -> list[float]:
        choice = TokenChoice(
            list(range(2000)), [temperature] * 2000, **{"top_p": 1.0, "top_k": 0, "count": 0, **limits}
        )
        chosen = choice(ids, scores.clone()).argmax(-1)
        return (torch.bincount(chosen, minlength=4) / 2000).tolist()

    assert shares() == pytest.approx(scores[0].softmax(-1).tolist(), abs=0.04)
    assert shares(temperature=2.0) == pytest.approx((scores[0] / 2).softmax(-1).tolist(), abs=0.04)
    assert shares(top_k=2)[0] == shares(top_k=2)[3] == 0
    assert shares(top_p=0.5) == [0, 0, 1, 0]
    assert shares(temperature=0.0) == [0, 0, 1, 0]


def test_an_adapter_changes_answers_as_peft_does(models: dict[str, Path], adapter: Path) -> None:
    plain, adapted = (small(models["qwen2_5_vl"], adapter=each) for each in (None, str(adapter)))
    assert plain.fingerprint != adapted.fingerprint
    plain.network.load()
    adapted.network.load()
    batch = adapted.network.pad([adapted.network.prepare(QUESTIONS[1])])
    theirs = PeftModel.from_pretrained(
        AutoModelForImageTextToText.from_pretrained(models["qwen2_5_vl"]), str(adapter)
    ).eval()
    with torch.inference_mode():
        ours, unadapted, expected = (
            network(**batch).logits[0, -1]
            for network in (adapted.network._network, plain.network._network, theirs)
        )
    torch.testing.assert_close(ours, expected, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(ours, unadapted, atol=0.1)


def test_an_adapter_that_learnt_nothing_is_refused(
    models: dict[str, Path], adapter: Path, tmp_path: Path
) -> None:
    untrained = tmp_path / "untrained"
    shutil.copytree(adapter, untrained)
    weights = load_file(untrained / "adapter_model.safetensors")
    zeroed = {name: value * 0 if "lora_B" in name else value for name, value in weights.items()}
    save_file(zeroed, untrained / "adapter_model.safetensors")
    with pytest.raises(ValueError, match=r"lora_B of .*untrained are zero: the adapter was not trained"):
        small(models["qwen2_5_vl"], adapter=str(untrained)).network.load()


def test_an_adapter_of_another_model_is_refused(
    models: dict[str, Path], adapter: Path, tmp_path: Path
) -> None:

    with pytest.raises(ValueError, match=r"made for Qwen2_5_VL.*this is Qwen3VL"):
        small(models["qwen3_vl"], adapter=str(adapter)).network.load()
    other = tmp_path / "other"
    shutil.copytree(adapter, other)
    settings = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps(settings | {"r": 5}))
    with pytest.raises(CallFailed, match=r"doesn't fit") as caught:
        ask(small(models["qwen2_5_vl"], adapter=str(other)), QUESTIONS[0])
    assert caught.value.kind == "fatal"
    assert "\n" not in str(caught.value)
    (other / "adapter_config.json").write_text(json.dumps(settings | {"target_modules": ["nothing_like_it"]}))
    with pytest.raises(ValueError, match=r"doesn't fit"):
        small(models["qwen2_5_vl"], adapter=str(other)).network.load()
    (other / "adapter_config.json").write_text(
        json.dumps(settings | {"target_modules": ["q_proj", "v_proj", "k_proj"]})
    )
    with pytest.raises(ValueError, match=r"4 weights are missing"):
        small(models["qwen2_5_vl"], adapter=str(other)).network.load()


@pytest.mark.parametrize("family", FAMILIES)
def test_shares_of_numbers_are_those_of_reading_each_number_in_full(
    models: dict[str, Path], family: str
) -> None:
    client = small(models[family])
    client.network.load()
    inputs = client.network.prepare(QUESTIONS[1])
    shares = client.network.number_shares(inputs, 25)
    assert len(shares) == 26
    assert math.fsum(shares) == pytest.approx(1)
    plain = []
    with torch.inference_mode():
        for number in range(26):
            digits = client.network.words(str(number))["input_ids"]
            ids = torch.cat([inputs.ids, torch.tensor(digits)])
            batch = client.network.pad([type(inputs)(ids, inputs.pixels, inputs.grids)])
            steps = client.network._network(**batch).logits[0, -len(digits) - 1 :].softmax(-1)
            digit = [client.network.words(each)["input_ids"][0] for each in "0123456789."]
            share = math.prod(float(steps[step, token]) for step, token in enumerate(digits))
            plain.append(share * (1 - float(steps[-1, digit].sum())))
    assert shares == pytest.approx([share / sum(plain) for share in plain], rel=2e-3)


def test_an_exact_score_stands_in_the_answer_as_one_token(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The random network never writes an answer, so it is made to: its next tokens are those of a text, the
    probabilities stay its own.
    """
    client = small(models["qwen3_vl"], max_new_tokens=60, exact_scores=True)
    answer = client.network.words('{"reasoning": "score 3", "score": [18, 7]}<|im_end|>')["input_ids"]
    chosen = TokenChoice.__call__

    def dictated(self: TokenChoice, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        step = len(self.steps)
        chosen(self, ids, scores)
        first = torch.full((len(ids),), answer[step])
        self.steps[step] = (first, *self.steps[step][1:])
        return torch.full_like(scores, -torch.inf).scatter(1, first.unsqueeze(1), 0.0)

    monkeypatch.setattr(TokenChoice, "__call__", dictated)
    schema = AnswerSchema(text="reasoning", count=2, max_score=25.0, nothing=None)
    (reply,) = ask(client, question("rate", SIZES[0], SIZES[0], schema=schema))
    assert reply.text == '{"reasoning": "score 3", "score": [18, 7]}'
    numbers = [choices for choices in reply.alternatives if len(choices) == 26]
    assert [choices[0][0] for choices in numbers] == ["18", "7"]
    for choices in numbers:
        assert sorted(int(token) for token, _ in choices) == list(range(26))
        assert sum(share for _, share in choices) == pytest.approx(1)
    assert "".join(choices[0][0] for choices in reply.alternatives) == reply.text
    # one score of one digit: the paper's rubric reads its expectation off the same alternatives
    answer = client.network.words('{"feedback": "x", "score": 4}<|im_end|>')["input_ids"]
    (reply,) = ask(client, question("rate", SIZES[0], schema=AnswerSchema()))
    expected = expected_score(reply, AnswerSchema())
    (choices,) = (choices for choices in reply.alternatives if len(choices) == 6)
    assert expected == pytest.approx(sum(int(token) * share for token, share in choices))


@pytest.mark.parametrize(
    ("tokens", "schema", "places"),
    [
        (["score", "1", ' "', "score", '": ', "4", "}"], AnswerSchema(), [(5, 6)]),
        (
            ['"score": [', "1", "8", ",", " ", "7", "]"],
            AnswerSchema(count=2, max_score=25.0),
            [(1, 3), (5, 6)],
        ),
        (['"score": ', "4", ".", "5"], AnswerSchema(), []),
        (['"score": ', "9"], AnswerSchema(), []),
        (['"score": ', "0", "4"], AnswerSchema(), []),
        (['"score": 4', "}"], AnswerSchema(), []),
        (["nothing ", "4"], AnswerSchema(), []),
        (['"score": ', "", "4", "", "}"], AnswerSchema(), [(2, 3)]),
    ],
)
def test_places_of_scores(tokens: list[str], schema: AnswerSchema, places: list[tuple[int, int]]) -> None:
    assert score_spans(tokens, schema) == places


def test_a_random_network_gives_reasons_and_never_a_number(models: dict[str, Path]) -> None:
    rubric = PerspectiveRubric(max_pixels=4096)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    asked = rubric.questions(Triplet(Case("a", pixels[0], "remove the dog", "remove", "p"), pixels[1]))
    answers = []
    for each, reply in zip(asked, ask(small(models["qwen2_5_vl"], batch_size=2), *asked), strict=True):
        with pytest.raises(UnusableReply) as caught:
            rubric.read(each, reply)
        answers.append(str(caught.value))
    for verdict in rubric.verdicts(answers):
        assert (verdict.score, verdict.status) == (None, "failed")
        assert verdict.feedback


@pytest.mark.parametrize(
    "rubric",
    [PerspectiveRubric(max_pixels=4096), EditScoreRubric(max_pixels=4096, repeats=2)],
    ids=["perspectives", "editscore"],
)
def test_as_a_judge_with_a_ledger(models: dict[str, Path], tmp_path: Path, rubric: Rubric) -> None:
    """Two attempts at each question, no number out of garbage; a second run in another event loop asks
    nothing, a third triplet is asked about.
    """
    client = small(models["qwen3_vl"], batch_size=4, max_new_tokens=4)
    judge = VLMJudge("tiny", rubric, client, tmp_path / "ledger.sqlite", Limits(concurrency=8, attempts=2))
    pixels = np.random.default_rng(0).integers(0, 256, (4, 40, 40, 3), dtype=np.uint8)
    triplets = [
        Triplet(Case(str(index), pixels[index], "remove the dog", "remove", "p"), pixels[index + 1])
        for index in range(3)
    ]
    for reward in judge.judge(triplets[:2]):
        assert all((verdict.score, verdict.status) == (None, "failed") for verdict in reward.verdicts)
    # the second triplet's original is the first one's edited image, but no question is the same
    calls = judge.ledger.total().calls
    assert calls == 2 * 2 * rubric.calls
    assert [reward.failed for reward in judge.judge(triplets[:2])] == [True, True]
    assert judge.ledger.total().calls == calls
    judge.judge(triplets)
    assert judge.ledger.total().calls == calls + 2 * rubric.calls


def test_a_judge_without_weights_is_known_before_it_is_asked(models: dict[str, Path], tmp_path: Path) -> None:
    folder = shutil.copytree(models["qwen3_vl"], tmp_path / "vlm")
    judge = VLMJudge("tiny", PerspectiveRubric(), small(folder), None, Limits())
    judge.check_ready()
    for weights in folder.glob("*.safetensors"):
        weights.unlink()
    with pytest.raises(FileNotFoundError, match="vlm has no weights"):
        judge.check_ready()


def test_an_instruction_with_a_special_token_fails_alone(models: dict[str, Path]) -> None:
    judge = VLMJudge(
        "tiny",
        EditScoreRubric(max_pixels=4096, prompts="editscore_v1"),  # later ones escape the "<"
        small(models["qwen2_5_vl"], max_new_tokens=2),
        None,
        Limits(attempts=2),
    )
    pixels = np.zeros((32, 32, 3), dtype=np.uint8)
    asked = [
        Triplet(Case(str(index), pixels, text, "add", "p"), pixels + 9)
        for index, text in enumerate(("plain", "<|image_pad|> <|im_end|>"))
    ]
    plain, tricked = judge.judge(asked)
    assert "a special token of" in tricked.following.feedback
    assert "a special token of" not in plain.following.feedback


def test_bad_questions_are_refused_and_the_others_answered(models: dict[str, Path]) -> None:
    client = small(models["qwen2_5_vl"], batch_size=2)

    async def both() -> list[Reply | BaseException]:
        asked = (question("show <|image_pad|> and <|im_end|>", SIZES[0]), QUESTIONS[0])
        found = await asyncio.gather(*map(client.ask, asked), return_exceptions=True)
        await client.close()
        return found

    refused, answered = asyncio.run(both())
    assert isinstance(refused, CallFailed)
    assert refused.kind == "refused"
    assert isinstance(answered, Reply)


def test_out_of_memory_halves_the_batch(models: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    client = small(models["qwen2_5_vl"], batch_size=3)
    generate, sizes = VLMNetwork.generate, []

    def cramped(self: VLMNetwork, asked: list, decoding: Decoding) -> list[Reply]:
        sizes.append(len(asked))
        if len(asked) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return generate(self, asked, decoding)

    monkeypatch.setattr(VLMNetwork, "generate", cramped)
    room = 1
    assert len(ask(client, *QUESTIONS)) == 3
    assert sizes == [3, 1, 2, 1, 1]
    room = 0
    with pytest.raises(CallFailed, match="max_pixels") as caught:
        ask(small(models["qwen2_5_vl"]), QUESTIONS[0])
    assert caught.value.kind == "fatal"


def test_names_and_parameters_that_are_wrong(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in (str(tmp_path / "nowhere"), str(tmp_path)):
        with pytest.raises((FileNotFoundError, ValueError), match=str(tmp_path)) as caught:
            LocalVLM(name)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="adapter"):
        LocalVLM(str(models["qwen3_vl"]), adapter=str(tmp_path))
    with pytest.raises(ValueError, match="top_p=0"):
        LocalVLM(str(models["qwen3_vl"]), top_p=0.0)
    with pytest.raises(ValueError, match="batch_size=0"):
        LocalVLM(str(models["qwen3_vl"]), batch_size=0)


def test_fingerprints_follow_weights_and_parameters(models: dict[str, Path], tmp_path: Path) -> None:
    same, drawn = (
        small(models["qwen3_vl"]).fingerprint,
        small(models["qwen3_vl"], temperature=0.7).fingerprint,
    )
    assert small(models["qwen3_vl"]).fingerprint == same != drawn
    other = write_vlm(tmp_path / "other", "qwen3_vl", seed=5)
    assert small(other).fingerprint.split("@")[1] != same.split("@")[1]


def test_the_images_processor_and_tokenizer_are_the_saved_ones(models: dict[str, Path]) -> None:
    client = small(models["qwen3_vl"])
    assert type(client.network.images) is type(AutoImageProcessor.from_pretrained(models["qwen3_vl"]))
    assert len(client.network.words) == len(AutoTokenizer.from_pretrained(models["qwen3_vl"]))
