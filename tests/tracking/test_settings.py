"""What a dashboard is told of a config: everything but secrets."""

from omegaconf import OmegaConf

from src.tracking.settings import HIDDEN, loggable_settings

JUDGE = {
    "api_key": "given",
    "key_variable": "OPENAI_API_KEY",
    "max_tokens": 300,
    "url": "https://a.b/?k=topsecretvalue",
    "names": ["topsecretvalue"],
}
CFG = OmegaConf.create(
    {"seed": 3, "judge": JUDGE, "copy": "${seed}", "logger": {"save_dir": "${hydra:runtime.output_dir}"}}
)


def test_names_and_values_of_secrets_are_hidden_and_the_rest_is_as_it_was() -> None:
    told = loggable_settings(
        CFG,
        {"OPENAI_API_KEY": "topsecretvalue", "HF_TOKEN": "short", "PATH": "https"},
        {"axes": {"seed": "topsecretvalue"}},
    )
    judge = {
        "api_key": HIDDEN,
        "key_variable": "OPENAI_API_KEY",
        "max_tokens": 300,
        "url": f"https://a.b/?k={HIDDEN}",
        "names": [HIDDEN],
    }
    assert told == {"seed": 3, "judge": judge, "copy": 3, "axes": {"seed": HIDDEN}}


def test_without_secrets_nothing_is_hidden_by_value() -> None:
    assert loggable_settings(CFG, {})["judge"]["url"] == "https://a.b/?k=topsecretvalue"
