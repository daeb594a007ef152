"""Replies as models really send them, and what is read in them: the answer, or that there is none. No reply
gives a score that it doesn't hold.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.judges.parsing import UnusableReply, expected_score, parse_reply
from src.judges.question import AnswerSchema, Reply
from src.judges.rubric import SCHEMAS

ANNOTATION, EVALUATION = SCHEMAS["annotation"], SCHEMAS["evaluation"]
EDITSCORE = AnswerSchema(text="reasoning", score="score", count=2, max_score=25.0, nothing=None)
NUMBER = AnswerSchema(text="comment", nothing=None)

WHOLE = [
    # as the schema asks for
    ('{"feedback": "the dog is still there", "score": 3}', 3, "the dog is still there"),
    ('{"feedback": "None", "score": 5}', 5, "None"),
    ('{"score":4,"feedback":"the sky is banded"}', 4, "the sky is banded"),
    ('{\n  "feedback": "the {red} one stayed",\n  "score": 2\n}', 2, "the {red} one stayed"),
    ('{"feedback": "the \\"red\\" one", "score": 4}', 4, 'the "red" one'),
    ('{"feedback": "狗还在那里", "score": 1}', 1, "狗还在那里"),
    ('{"feedback": "caf\\u00e9 sign unreadable", "score": 4.5}', 4.5, "café sign unreadable"),
    ('{"feedback": "two\\nlines", "score": 0}', 0, "two lines"),
    ('{"feedback": "x", "score": 4, "confidence": 0.9}', 4, "x"),
    ('{"feedback": "x", "score": 5e0}', 5, "x"),
    ('{"feedback": "x", "score": -0.0}', 0, "x"),
    ('{"feedback": "half an emoji \\ud83d", "score": 4}', 4, "half an emoji"),
]

REPAIRED = [
    # around the object
    ('```json\n{"feedback": "x", "score": 4}\n```', 4, "x"),
    ('```JSON\n{"feedback": "x", "score": 4}\n```\nI hope this helps!', 4, "x"),
    ('```\n{"feedback": "x", "score": 4}', 4, "x"),
    ('Format: {"feedback": "...", "score": 0}\n```json\n{"feedback": "x", "score": 4}\n```', 4, "x"),
    ('```text\nthinking\n```\n{"feedback": "x", "score": 4}', 4, "x"),
    ('Here is my evaluation:\n\n{"feedback": "x", "score": 4}\n\nLet me know!', 4, "x"),
    ('\ufeff{"feedback": "x", "score": 4}', 4, "x"),
    ('{"feedback": "x", "score": 4}</s>', 4, "x"),
    ('{"feedback": "x", "score": 4}}', 4, "x"),
    ('{{"feedback": "x", "score": 4}}', 4, "x"),
    ('{"feedback": "x", "score": 4},', 4, "x"),
    ('<|begin_of_box|>{"feedback": "x", "score": 4}<|end_of_box|>', 4, "x"),
    ('I rate {this} highly. {"feedback": "x", "score": 4}', 4, "x"),
    ('{"feedback": "x", "score": 4}\n{"feedback": "x", "score": 4}', 4, "x"),
    # thoughts first
    ('<think>Perhaps {"feedback": "a", "score": 3}?</think>\n\n{"feedback": "x", "score": 4}', 4, "x"),
    ('Perhaps {"feedback": "a", "score": 3}?\n</think>\n\n{"feedback": "x", "score": 4}', 4, "x"),
    ('<thinking>hm</thinking>{"feedback": "x", "score": 4}', 4, "x"),
    ('◁think▷hm◁/think▷{"feedback": "x", "score": 4}', 4, "x"),
    # wrapped once more
    ('[{"feedback": "x", "score": 4}]', 4, "x"),
    ('{"answer": {"feedback": "x", "score": 4}}', 4, "x"),
    ('{"result": [{"Feedback": "x", "Score": 4}]}', 4, "x"),
    ('"{\\"feedback\\": \\"x\\", \\"score\\": 4}"', 4, "x"),
    ('{"FEEDBACK": "x", "SCORE": 4}', 4, "x"),
    # almost JSON
    ("{'feedback': 'x', 'score': 4}", 4, "x"),
    ("{'feedback': None, 'score': 5}", 5, "None"),
    ("{'feedback': 'the dog's head is gone', 'score': 4}", 4, "the dog's head is gone"),
    ("{'feedback': 'the } is gone', 'score': 4}", 4, "the } is gone"),
    ("{'feedback': '3\" of the pipe', 'score': 4}", 4, '3" of the pipe'),
    ('{"feedback": "3" of the pipe", "score": 4}', 4, '3" of the pipe'),
    ("{'score': 4, 'feedback': 'the \"} is gone'}", 4, 'the "} is gone'),
    ('{"feedback": "x", "score": 4,}', 4, "x"),
    ('{"feedback": "x"\n"score": 4}', 4, "x"),
    ('{feedback: "x", score: 4}', 4, "x"),
    ('{"feedback": "x", "score": 4 // one small shortfall\n}', 4, "x"),
    ("{“feedback”: “x”, “score”: 4}", 4, "x"),
    ('{"feedback"：“天空有色带”，"score"：4}', 4, "天空有色带"),  # noqa: RUF001
    ("{「feedback」：「x」，「score」：4}", 4, "x"),  # noqa: RUF001
    ('{"feedback": "two\nlines", "score": 4}', 4, "two lines"),
    ('{"feedback": ["the dog stayed", "the sky too"], "score": 4}', 4, "the dog stayed; the sky too"),
    # the score in other clothes
    ('{"feedback": "x", "score": "4"}', 4, "x"),
    ('{"feedback": "x", "score": "4.5"}', 4.5, "x"),
    ('{"feedback": "x", "score": "4/5"}', 4, "x"),
    ('{"feedback": "x", "score": 4/5}', 4, "x"),
    ('{"feedback": "x", "score": "4 out of 5"}', 4, "x"),
    ('{"feedback": "x", "score": "4 of 5 points."}', 4, "x"),
    ('{"feedback": "x", "score": "4分"}', 4, "x"),
    ('{"feedback": "x", "score": [4]}', 4, "x"),
    ('{"feedback": "x", "score": 04}', 4, "x"),
    # what stands for "None"
    ('{"feedback": "none.", "score": 5}', 5, "None"),
    ('{"feedback": "N/A", "score": 5}', 5, "None"),
    ('{"feedback": "", "score": 5}', 5, "None"),
    ('{"feedback": null, "score": 5}', 5, "None"),
    ('{"score": 5}', 5, "None"),
]

UNUSABLE = [
    ("", "empty"),
    (" \n", "empty"),
    ("<think>all thought, nothing said</think>", "empty"),
    ('<think>Perhaps {"feedback": "a", "score": 3}', "thoughts"),
    ("4", "no answer"),
    ("null", "no answer"),
    ("{}", "no answer"),
    ("I'm sorry, I can't assist with that request.", "no answer"),
    ("The edit deserves a 4 out of 5 because the dog stayed.", "no answer"),
    ("Score: 4\nFeedback: the dog stayed", "no answer"),
    ('{"feedback": "x"}', "no answer"),
    ('{"feedback": "x", "rating": 4}', "no answer"),
    ('{"feedback": "x", "score": 4', "no answer"),
    ('{"score": 4}', "without feedback"),
    ('{"feedback": {"a": 1}, "score": 4}', "no text"),
    ('{"feedback": "x", "score": 6}', "outside"),
    ('{"feedback": "x", "score": -1}', "outside"),
    ('{"feedback": "x", "score": "-1"}', "outside"),
    ('{"feedback": "x", "score": 85}', "outside"),
    ('{"feedback": "x", "score": "8/10"}', "scale of 10"),
    ('{"feedback": "x", "score": 8/10}', "scale of 10"),
    ('{"feedback": "x", "score": "4/0"}', "scale of 0"),
    ('{"feedback": "x", "score": NaN}', "outside"),
    ('{"feedback": "x", "score": Infinity}', "outside"),
    ('{"feedback": "x", "score": 1e999}', "outside"),
    ('{"feedback": "x", "score": ' + "1" * 4000 + "}", "outside"),
    ('{"feedback": "x", "score": ' + "1" * 5000 + "}", "outside"),
    ('{"feedback": "x", "score": true}', "no number"),
    ('{"feedback": "x", "score": null}', "no number"),
    ('{"feedback": "x", "score": ""}', "no number"),
    ('{"feedback": "x", "score": }', "no number"),
    ('{"feedback": "x", "score": "high"}', "no number"),
    ('{"feedback": "x", "score": "four"}', "no number"),
    ('{"feedback": "x", "score": "3-4"}', "no number"),
    ('{"feedback": "x", "score": 3-4}', "no number"),
    ('{"feedback": "x", "score": 3 or 4}', "no number"),
    ('{"feedback": "x", "score": "3" or "4"}', "no number"),
    ('{"feedback": "x", "score": 4,5}', "no number"),
    ('{"feedback": "x", "score": "4,5"}', "no number"),
    ('{"feedback": "x", "score": 1 0}', "no number"),
    ('{"feedback": "x", "score": 80%}', "no number"),
    ('{"feedback": "x", "score": <4}', "no number"),
    ('{"feedback": "x", "score": {"value": 4}}', "no number"),
    ('{"feedback": "x", "score": [4, 5]}', "1 score"),
    ('{"feedback": "x", "score": 3}\nOn second thought: {"feedback": "x", "score": 4}', "different answers"),
    ('{"feedback": "x", "score": 3, "score": 4}', "two values"),
    ("{'feedback': 'x', 'score': 3, 'score': 4}", "different scores"),
    ("{'score': 4, 'feedback': 'the } is gone'}", "no end"),
    ("{'score': 4, 'feedback': '}", "no end"),
    ("[" * 100_000, "no answer"),
    ('{"a":' * 100_000, "no answer"),
]


def read(text: str, schema: AnswerSchema = ANNOTATION, finish: str = "stop"):
    return parse_reply(Reply(text, finish), schema)


def short(value: object) -> str:
    return str(value)[:60]


@pytest.mark.parametrize(("text", "score", "words"), WHOLE, ids=short)
def test_what_the_schema_asks_for(text: str, score: float, words: str) -> None:
    answer = read(text)
    assert (answer.scores, answer.text, answer.success, answer.repaired) == ((score,), words, None, False)
    assert str(answer.scores[0])[0] != "-"


@pytest.mark.parametrize(("text", "score", "words"), REPAIRED, ids=short)
def test_what_can_mean_only_one_thing_is_repaired(text: str, score: float, words: str) -> None:
    answer = read(text)
    assert (answer.scores, answer.text, answer.repaired) == ((score,), words, True)


@pytest.mark.parametrize(("text", "reason"), UNUSABLE, ids=short)
def test_what_could_mean_two_things_means_nothing(text: str, reason: str) -> None:
    with pytest.raises(UnusableReply, match=reason) as caught:
        read(text)
    assert len(str(caught.value)) < 300
    str(caught.value).encode()


@pytest.mark.parametrize("finish", ["length", "refusal", "content_filter"])
def test_a_reply_that_did_not_end_well_is_no_answer(finish: str) -> None:
    with pytest.raises(UnusableReply):
        read('{"feedback": "None", "score": 5}', finish=finish)


@pytest.mark.parametrize(
    ("text", "success", "repaired"),
    [
        ('{"reason": "x", "success": "yes", "score": 4}', True, False),
        ('{"reason": "x", "success": "no", "score": 4}', False, False),
        ('{"reason": "", "success": "yes", "score": 4}', True, False),
        ('{"reason": "x", "success": "Yes.", "score": 4}', True, True),
        ('{"reason": "x", "success": "NO", "score": "4"}', False, True),
        ('{"reason": "x", "success": true, "score": 4}', True, True),
        ("{'reason': 'x', 'success': False, 'score': 4}", False, True),
        ('{"score": 4, "success": "no"}', False, False),
        ('{"reason": "x", "success": "partly", "score": 4}', None, True),
        ('{"reason": "x", "success": "yes and no", "score": 4}', None, True),
        ('{"reason": "x", "success": 1, "score": 4}', None, True),
        ('{"reason": "x", "score": 4}', None, True),
        ("4", None, True),
    ],
)
def test_yes_and_no(text: str, success: bool | None, repaired: bool) -> None:
    if success is None:
        with pytest.raises(UnusableReply):
            read(text, EVALUATION)
        return
    answer = read(text, EVALUATION)
    assert (answer.scores, answer.success, answer.repaired) == ((4,), success, repaired)


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ('{"reasoning": "x", "score": [20, 15]}', (20, 15)),
        ('{"reasoning": "x", "score": ["20", "15/25"]}', (20, 15)),
        ("[20, 15]", (20, 15)),
        ('[{"reasoning": "x", "score": [20, 15]}]', (20, 15)),
        ('{"reasoning": "it"s off", "score": [20 15]}', (20, 15)),
        ("{'reasoning': 'x', 'score': (20, 15)}", (20, 15)),
        ('{"reasoning": "x", "score": [20]}', None),
        ('{"reasoning": "x", "score": 20}', None),
        ('{"reasoning": "x", "score": [20, 15, 3]}', None),
        ('{"reasoning": "x", "score": [20, 26]}', None),
        ('{"reasoning": "x", "score": [20, null]}', None),
        ('{"reasoning": "x", "score": [20, 15', None),
        ("[20, 1", None),
        ("20, 15", None),
    ],
)
def test_two_scores_at_once(text: str, scores: tuple[float, ...] | None) -> None:
    if scores is None:
        with pytest.raises(UnusableReply):
            read(text, EDITSCORE)
    else:
        assert read(text, EDITSCORE).scores == scores


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("4", 4),
        (" 4.5\n", 4.5),
        ("4/5", 4),
        ('"4"', 4),
        ("[4]", 4),
        ("8/10", None),
        ("true", None),
        ("four", None),
    ],
)
def test_a_score_alone_will_do_where_no_words_are_needed(text: str, score: float | None) -> None:
    if score is None:
        with pytest.raises(UnusableReply):
            read(text, NUMBER)
    else:
        assert read(text, NUMBER).scores == (score,)


MARKS = [
    ("<think>", "</think>"),
    ("<THINKING>", "</THINKING>"),
    ('<think lang="en">', "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("<analysis>", "</analysis>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>commentary<|message|>", "<|end|><|channel|>final <|constrain|>json<|message|>"),
    ("analysisWe need to look. ", "assistantfinal"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]"),
    ("Here is my thought process: ", "Here is my response:"),
]


@pytest.mark.parametrize(("begin", "end"), MARKS, ids=short)
def test_thoughts_are_told_from_the_answer(begin: str, end: str) -> None:
    """Whatever marks them, and also where they hold a draft of the answer; without an end they are none."""
    draft, answer = '{"feedback": "the sky is grey", "score": 2}', '{"feedback": "None", "score": 5}'
    assert read(f"{begin}Perhaps {draft}? No.{end}{answer}").scores == (5,)
    assert read(f"{begin}Perhaps {draft}? No.{end}\n{answer}<|return|>").scores == (5,)
    with pytest.raises(UnusableReply, match="cut off in its thoughts") as caught:
        read(f"{begin}Perhaps {draft}? No.")
    assert caught.value.cause == "cut_off"


def test_marks_of_thoughts_in_a_whole_answer_are_words() -> None:
    assert read('{"feedback": "the sign says [THINK]", "score": 3}').text == "the sign says [THINK]"


WORDS = st.text(st.sampled_from("ab 5{}[]:,'\"\\/.score“”\n"), max_size=30)


@st.composite
def good_replies(draw: st.DrawFn) -> tuple[str, AnswerSchema]:
    """Replies that hold an answer, in every dress."""
    schema = draw(st.sampled_from([ANNOTATION, EVALUATION, EDITSCORE]))
    score = st.integers(0, int(schema.max_score))
    fields: dict[str, object] = {
        schema.text: draw(WORDS),
        schema.score: draw(score) if schema.count == 1 else draw(st.tuples(score, score).map(list)),
    }
    if schema.success:
        fields[schema.success] = draw(st.sampled_from(["yes", "no"]))
    fields = dict(draw(st.permutations(list(fields.items()))))
    text = draw(
        st.sampled_from([json.dumps, lambda value: json.dumps(value, indent=2, ensure_ascii=False), repr])
    )(fields)
    before, after = draw(
        st.sampled_from(
            [
                ("", ""),
                ("```json\n", "\n```"),
                ("Here you are:\n", "\nDone."),
                ("<think>hm {x}</think>", ""),
                ("[", "]"),
            ]
        )
    )
    return before + text + after, schema


@given(good_replies())
@settings(max_examples=120, deadline=None)
def test_a_reply_cut_off_anywhere_gives_its_scores_or_none(reply: tuple[str, AnswerSchema]) -> None:
    """The server's word that a reply was cut off is not relied on."""
    text, schema = reply
    try:
        whole = read(text, schema)
    except UnusableReply:
        whole = None
    for end in range(len(text)):
        try:
            part = read(text[:end], schema)
        except UnusableReply:
            continue
        assert whole is not None
        assert (part.scores, part.success) == (whole.scores, whole.success), text[:end]
        # nor are the words cut short
        assert part.text == whole.text, text[:end]


@given(good_replies())
@settings(max_examples=120, deadline=None)
def test_what_is_read_is_what_was_written(reply: tuple[str, AnswerSchema]) -> None:
    text, schema = reply
    start, end = text.index("{", max(0, text.find("</think>"))), text.rindex("}") + 1
    fields = (
        json.loads(text[start:end])
        if '": ' in text and text[start + 1 : start + 20].lstrip().startswith('"')
        else eval(text[start:end])
    )
    try:
        answer = read(text, schema)
    except UnusableReply:
        return
    scores = fields[schema.score]
    assert answer.scores == tuple(scores if isinstance(scores, list) else [scores])
    assert answer.success == (None if schema.success is None else fields[schema.success] == "yes")


@given(st.text(max_size=80) | st.text(st.sampled_from("{}[]\"':,score 45feedback\\n<think>/`"), max_size=80))
@settings(max_examples=150, deadline=None)
def test_anything_is_an_answer_or_unusable(text: str) -> None:
    for schema in (ANNOTATION, EVALUATION, EDITSCORE, NUMBER):
        try:
            answer = read(text, schema)
        except UnusableReply as reason:
            str(reason).encode()
            continue
        assert all(0 <= score <= schema.max_score for score in answer.scores)
        answer.text.encode()


def told(text: str, *at_the_score: tuple[str, float]) -> Reply:
    """A reply with probabilities, a character a token; alternatives at the last digit."""
    place = max(index for index, letter in enumerate(text) if letter.isdigit())
    return Reply(
        text,
        alternatives=tuple(
            at_the_score if index == place else ((letter, 1.0),) for index, letter in enumerate(text)
        ),
    )


def test_the_expected_score_is_the_mean_under_the_probabilities_of_the_digits() -> None:
    reply = told(
        '{"feedback": "5 of 3 dogs, score 1", "score": 4}',
        ("4", 0.6),
        ("5", 0.2),
        (" 3", 0.1),
        ("9", 0.05),
        ("four", 0.05),
    )
    assert expected_score(reply, ANNOTATION) == pytest.approx((4 * 0.6 + 5 * 0.2 + 3 * 0.1) / 0.9)
    certain = told('{"feedback": "None", "score": 5}', ("5", 0.9))
    assert expected_score(certain, ANNOTATION) == 5
    assert expected_score(Reply('{"feedback": "x", "score": 4}'), ANNOTATION) is None
    assert expected_score(told("no digit after the word score 4"[:-1] + "x1", ("1", 1.0)), EDITSCORE) is None
