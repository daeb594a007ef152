"""The page itself: fields, buttons, and what happens when they are used. Needs gradio."""

import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import gradio as gr

from src.app_page.examples import PageExample, known_words
from src.app_page.texts import header, message, paragraph, strip_figures, verdict_table
from src.app_page.workbench import ALL, MOST_STEPS, Workbench, asked_of, enlarged
from src.launch import one_line
from src.records import MAX_SCORE, NO_FAILURE, PERSPECTIVES, Perspective, Reward

QUESTIONS = {
    Perspective.FOLLOWING: "is the instruction followed?",
    Perspective.PRESERVING: "is everything else kept?",
    Perspective.QUALITY: "is it a good picture?",
}
"""What a score of each perspective answers, for people."""

EVENTS: Mapping[str, Any] = {
    "preprocess": False,  # the picture is read by our rules and refused in our words
    "api_visibility": "private",
    "concurrency_id": "editor",
    "concurrency_limit": 1,
}
"""Of everything that the editor or the judge does: one at a time."""

FORGET = "() => [null, '', '', '']"
"""With another picture, what was made of the one before goes."""

HELD_SECONDS = 3600
"""How long an edit is kept for its judge."""

Fields = dict[str, gr.components.Component]
"""The fields of a request by the names that `asked_of` gives them, in the order in which they are sent."""


def build_page(workbench: Workbench) -> gr.Blocks:
    """The page of a workbench; `src/app_page/server.py` serves it."""
    with gr.Blocks(analytics_enabled=False, title="Multi-reward editing") as page:
        gr.HTML(header(workbench), elem_id="header")
        gallery = _gallery(workbench.examples)
        with gr.Row():
            with gr.Column(scale=4, min_width=300):
                fields = _request_fields() | _score_fields(workbench.signals)
                button = gr.Button("Edit", variant="primary", elem_id="edit")
                fields |= _feedback_fields(workbench.signals) | _sampling_fields(workbench)
                _show_words(workbench)
            with gr.Column(scale=5, min_width=300):
                told = gr.HTML(elem_id="message")
                pair = gr.ImageSlider(
                    label="original | edit",
                    format="png",
                    interactive=False,
                    elem_id="compare",
                    max_height=460,
                )
                verdict = gr.HTML(elem_id="verdict", visible=workbench.judge is not None)
                with gr.Row(visible="score" in workbench.signals):
                    varied = gr.Dropdown([ALL, *PERSPECTIVES], value=ALL, label="score to vary", scale=2)
                    strip_button = gr.Button("Strip over scores 0 to 5", elem_id="make_strip", scale=3)
                strip = gr.HTML(elem_id="strip")
        _connect(workbench, fields, button, [pair, told, verdict])
        _connect_strip(workbench, fields, strip_button, varied, [strip, told])
        picture = cast(gr.Image, fields["picture"])
        picture.change(None, None, [pair, told, verdict, strip], js=FORGET, api_visibility="private")
        if gallery is not None:
            _connect_examples(workbench.examples, gallery, fields)
    return page


def _gallery(examples: Sequence[PageExample]) -> gr.Gallery | None:
    if not examples:
        return None
    return gr.Gallery(
        [(str(each.file), each.caption) for each in examples],
        label="examples",
        show_label=False,
        columns=len(examples),
        height="auto",
        allow_preview=False,
        interactive=False,
        elem_id="examples",
        buttons=[],
    )


def _request_fields() -> Fields:
    return {
        "picture": gr.Image(
            type="filepath",
            image_mode=None,
            sources=["upload", "clipboard"],
            label="picture (or take an example)",
            height=240,
            buttons=[],
            elem_id="picture",
        ),
        "instruction": gr.Textbox(label="instruction", placeholder="make it night", elem_id="instruction"),
    }


def _score_fields(signals: tuple[str, ...]) -> Fields:
    return {
        name: gr.Slider(
            0,
            MAX_SCORE,
            MAX_SCORE,
            step=0.5,
            label=f"{name}: {question}",
            interactive="score" in signals,
            elem_id=name,
        )
        for name, question in QUESTIONS.items()
    }


def _feedback_fields(signals: tuple[str, ...]) -> Fields:
    with gr.Accordion("feedback: what may fail, in words", open=False, elem_id="feedback"):
        return {
            f"{name}_feedback": gr.Textbox(
                label=name, placeholder=NO_FAILURE, interactive="text" in signals, elem_id=f"{name}_feedback"
            )
            for name in PERSPECTIVES
        }


def _show_words(workbench: Workbench) -> None:
    """What can be written, for an editor of a closed language."""
    words = sorted(known_words(workbench.editor))
    if words:
        with gr.Accordion(f"the {len(words)} words that this editor knows", open=False):
            gr.HTML(paragraph(", ".join(words)))


def _sampling_fields(workbench: Workbench) -> Fields:
    sampler, side = workbench.editor.sampler, workbench.editor.trained_side
    sizes = dict.fromkeys([str(sampler.resize), "trained", *(str(side * times) for times in (2, 4)), "keep"])
    one = "1: none; others for editors trained with condition dropout"
    with gr.Accordion("size, seed, guidance", open=False, elem_id="sampling"):
        return {
            "resize": gr.Dropdown(
                list(sizes),
                value=str(sampler.resize),
                label="size of the edit (resize)",
                allow_custom_value=True,
                info=f"the short side in pixels, or trained ({side})",
                elem_id="resize",
            ),
            "seed": gr.Number(workbench.seed, label="seed", precision=0, elem_id="seed"),
            "steps": gr.Slider(1, MOST_STEPS, sampler.steps, step=1, label="steps", elem_id="steps"),
            "text_guidance": gr.Number(sampler.guidance.text, label="instruction guidance", info=one),
            "image_guidance": gr.Number(sampler.guidance.image, label="picture guidance", info=one),
            "reward_guidance": gr.Number(
                sampler.guidance.reward,
                label="reward guidance",
                info="1: none; more: away from low scores",
                visible=bool(workbench.signals),
            ),
        }


def _connect(workbench: Workbench, fields: Fields, button: gr.Button, outputs: list[Any]) -> None:
    """Edit at a click, or when the instruction is entered; then judge."""
    made = gr.State(time_to_live=HELD_SECONDS)  # what was asked for, and its edit: the judge looks later

    def edit(*values: Any) -> list[Any]:
        asked = asked_of(dict(zip(fields, values, strict=True)))
        pair = workbench.edit(asked)
        looking = "" if workbench.judge is None else paragraph("the judge is looking ...")
        return [tuple(enlarged(image) for image in pair), "", looking, (asked, pair)]

    def judge(made: Any) -> list[Any]:
        reward = None if made is None else workbench.verdict(*made)
        return [gr.skip(), verdict_table(reward) if isinstance(reward, Reward) else paragraph(reward or "")]

    instruction = cast(gr.Textbox, fields["instruction"])
    edited = gr.on(
        [button.click, instruction.submit],
        _telling(edit, [gr.skip(), None, "", None]),
        list(fields.values()),
        [*outputs, made],
        **EVENTS,
    )
    if workbench.judge is not None:
        edited.then(_telling(judge, [None, ""]), made, outputs[1:], **EVENTS)


def _connect_strip(
    workbench: Workbench, fields: Fields, button: gr.Button, varied: gr.Dropdown, outputs: list[Any]
) -> None:
    def strip(*values: Any) -> list[Any]:
        asked = asked_of(dict(zip(fields, values[:-1], strict=True)))
        return [strip_figures(workbench.strip(asked, values[-1])), ""]

    button.click(_telling(strip, [gr.skip(), None]), [*fields.values(), varied], outputs, **EVENTS)


def _connect_examples(examples: Sequence[PageExample], gallery: gr.Gallery, fields: Fields) -> None:
    texts = [f"{name}_feedback" for name in PERSPECTIVES]
    changed = [fields[name] for name in ("picture", "instruction", *PERSPECTIVES, *texts, "resize")]

    def take(selected: gr.SelectData) -> list[Any]:
        chosen = examples[selected.index]
        feedback = ["" if text == NO_FAILURE else text for text in chosen.target.feedback]
        return [str(chosen.file), chosen.instruction, *chosen.target.scores, *feedback, chosen.resize]

    gallery.select(take, None, changed, api_visibility="private", queue=False)


def _telling(act: Callable[..., list[Any]], told: list[Any]) -> Callable[..., list[Any]]:
    """A handler of events that puts what goes wrong into one line on the page.

    Args:
        act: takes the values of fields, returns those of outputs.
        told: the outputs when something went wrong, with None first where the line goes.
    """
    place = told.index(None)

    def handle(*values: Any) -> list[Any]:
        try:
            return act(*values)
        except Exception as error:  # noqa: BLE001  # whatever it is, the page goes on
            if not isinstance(error, ValueError | FileNotFoundError):
                traceback.print_exc(file=sys.stderr)  # no fault of the user's: for whoever runs the page
            return [*told[:place], message(_for_page(error, values)), *told[place + 1 :]]

    return handle


def _for_page(error: Exception, values: Sequence[Any]) -> str:
    """The error as one line, in which uploads have their own names and not those of their copies here."""
    line = one_line(error)
    for value in values:
        if isinstance(value, Mapping) and "path" in value:
            line = line.replace(value["path"], Path(value["path"]).name)
    return line
