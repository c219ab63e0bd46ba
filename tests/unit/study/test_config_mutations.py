"""Any value at any key of a study: accepted, or refused with a short message that names the key."""

import copy
import json
import math
import re

import pytest

from sft_tradeoff.domains.registry import SPECS, domain_spec
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study import config
from sft_tradeoff.study.checks import check_files
from sft_tradeoff.study.config import Study, parse_study
from sft_tradeoff.study.runs import evaluation_configs, run_table
from sft_tradeoff.study.spec import EvaluationSpec, TrainingSpec
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.validation import ConfigError

VALUES = [
    None,
    -1,
    0,
    math.inf,
    math.nan,
    True,
    [],
    10**40,
    1e-320,
    "1e999",
    "x" * 9999,
    "\x1b[31m",
]
VALUES += [{None: 1}, {"\x1b": 1}, ["z"] * 500]
MOST_CHARACTERS = 2000
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def study_with(**changes):
    """A small study in which every key that all studies share is set."""
    return {
        "study": "s",
        "description": "d",
        "models": ["mine"],
        "domains": [{"name": "esci"}],
        "methods": [{"name": "sft", "label": "a", "options": {}, "grid": {}}],
        "learning_rates": {"full": [1e-4], "adapter": [1e-3]},
        "seeds": [0],
        "refine": {"rounds": 2, "ratio": 2.0},
        "added_rates": [],
        "training": TrainingSpec().model_dump(mode="json"),
        "evaluation": EvaluationSpec(tasks={"piqa": 8, "code_length_code": None}).model_dump(),
        "keep_models": False,
        "record_tokens": False,
        "tolerance": {"bits_per_byte": 0.1, "accuracy": 0.1},
        "smallest_gain": {"accuracy": 0.1, "nll": 0.1},
        "results_source": "fresh",
        "assets": {
            "w": {
                "source": "wheel",
                "package": "a==1",
                "sha256": "0" * 64,
                "members": {"a/b": "0" * 64},
                "license": "MIT",
            },
            "h": {
                "source": "hub",
                "repo": "a/b",
                "revision": "0" * 40,
                "repo_type": "dataset",
                "allow_patterns": ["*"],
                "license": "MIT",
            },
            "l": {"source": "local", "path": "README.md", "sha256": None, "license": "MIT"},
        },
        "model_catalogue": {
            "mine": {
                "asset": "w",
                "format": "gguf",
                "file": "a/b",
                "chat_template": "{{ messages }}",
                "chat_template_args": {"a": True},
                "expected": {"piqa.acc_norm": [0.1, 0.2]},
                "architecture": {"model_type": "llama"},
            }
        },
        "start_only": [],
    } | changes


def domain(name):
    needed = {"path": "README.md"} if name == "own" else {}
    return domain_spec(name=name, **needed).model_dump(mode="json") | {"max_new_tokens": 64}


def method(name):
    options = METHODS[name].options()
    return [
        {"name": "sft"},
        {"name": name, "label": "b", "options": options.model_dump(mode="json")},
    ]


def places(node, place=()):
    """Every place of a tree of mappings and lists, its root excepted."""
    inner = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in inner:
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))


def mutated(study, place, value):
    study = copy.deepcopy(study)
    node = study
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return study


def outcome(study):
    """The message of the refusal; empty if the study is accepted and its jobs can be planned."""
    try:
        parsed = parse_study(study, "s.yaml")
        check_files(parsed, "s.yaml", BENCHMARKS)
    except ConfigError as error:
        return str(error)
    json.loads(parsed.model_dump_json())
    evaluation_configs(parsed)
    run_table(parsed)
    return ""


def key_at(place):
    """The key in the file: of a list's entry, that of the list."""
    return next(str(part) for part in reversed(place) if not isinstance(part, int))


@pytest.fixture(autouse=True)
def catalogue(monkeypatch):
    """Read once: it is read for every study."""
    read = config.read_catalogue()
    monkeypatch.setattr(config, "read_catalogue", lambda: read)


ADDED = {"model": "mine", "domain": "esci-cot", "method": "a", "learning_rate": 2e-4}
START = {"model": "mine", "domain": "esci-cot", "method": "a", "learning_rate": 1e-4, "seed": 0}
STARTED = {
    "models": ["mine", "warm"],
    "model_catalogue": {"mine": {"format": "random"}, "warm": {"start_from": START}},
    "domains": [{"name": "esci"}, {"name": "medcalc"}],
    "start_only": ["esci-cot"],
}
CASES = (
    [pytest.param({}, (key,), id=key) for key in Study.model_fields]
    + [pytest.param(STARTED, ("model_catalogue", "warm"), id="a start")]
    + [pytest.param({"added_rates": [ADDED]}, ("added_rates",), id="an added rate")]
    + [pytest.param({"domains": [domain(name)]}, ("domains", 0), id=name) for name in SPECS]
    + [
        pytest.param({"methods": method(name)}, ("methods", 1), id=name)
        for name in METHODS
        if name != "sft"
    ]
)


@pytest.mark.parametrize(("changes", "root"), CASES)
def test_any_value_is_accepted_or_refused_with_its_key(changes, root):
    study = study_with(**changes)
    assert outcome(study) == ""
    node = study
    for key in root:
        node = node[key]
    inner = places(node) if isinstance(node, dict | list) else ()
    for place in [root, *((*root, *place) for place in inner)]:
        for value in VALUES:
            message = outcome(mutated(study, place, value))
            said = f"{place} = {value!r:.50}: {message}"
            assert len(message) < MOST_CHARACTERS and not CONTROL.search(message), said
            named = message == "" or key_at(place) in message or "method" in message
            assert named, said


def test_the_number_of_runs_is_counted_before_they_are_made():
    grid = {option: [0.5] * 9999 for option in ("floor", "tau", "top_k", "quantile")}
    study = study_with(methods=[{"name": "talr", "grid": grid}])
    assert "9,996,000,599,960,001 runs, more than 10,000" in outcome(study)
