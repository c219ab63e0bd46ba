"""Every wrong setting is refused before any job, with file, key, value and fix."""

import copy
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sft_tradeoff.domains.registry import SPECS
from sft_tradeoff.objectives.registry import METHODS
from sft_tradeoff.study.checks import check_domains, check_files
from sft_tradeoff.study.config import SCHEMA_PATH, load_study, parse_study, study_schema
from sft_tradeoff.study.names import format_learning_rate
from sft_tradeoff.study.runs import (
    TOKEN_TABLES,
    aggregated_tables,
    base_run,
    evaluation_configs,
    expand_runs,
    run_table,
)
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.validation import ConfigError

DOMAINS = sorted(SPECS)  # as messages list them
GOOD = {
    "study": "s",
    "models": ["smollm2-135m-instruct"],
    "domains": [{"name": "medcalc"}, {"name": "esci", "variant": "label_only"}],
    "methods": [{"name": "sft"}, {"name": "talr", "options": {"floor": 0.1}}],
    "learning_rates": {"full": [1e-5, 1e-4]},
}


def changed(path, value):
    study = copy.deepcopy(GOOD)
    node = study
    for key in path[:-1]:
        node = node.setdefault(key, {}) if isinstance(node, dict) else node[key]
    node[path[-1]] = value
    return study


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["results_source"], "publishd", ["results_source: 'publishd'", "'fresh' or 'published'"]),
        (["trainning"], {}, ["trainning", "unknown key", "did you mean 'training'"]),
        (["training", "epoch"], 3, ["training.epoch", "did you mean 'epochs'"]),
        (["domains", 0, "n_trian"], 3, ["domains.0.n_trian", "did you mean 'n_train'"]),
        (["methods", 0, "name"], "tlar", ["methods.0", "'tlar'", "did you mean 'talr'"]),
        (["domains", 0, "name"], "medcal", ["domains.0.name: unknown 'medcal'; did you mean"]),
        (["domains", 0, "variant"], "label", ["domains.0", "'label'", "label_only"]),
        (["models"], ["smollm2"], ["models", "'smollm2'", "smollm2-135m-instruct"]),
        (["learning_rates", "full"], [0.0], ["learning_rates.full.0", "0.0", "[1e-12, 1)"]),
        (["learning_rates", "full"], [-1e-5], ["learning_rates.full.0", "-1e-05"]),
        (["learning_rates", "full"], [1e-5, 1e-5], ["learning_rates.full", "appears twice"]),
        (["learning_rates", "full"], [], ["learning_rates.full is empty", "add e.g."]),
        (["learning_rates"], {}, ["learning_rates.full is empty"]),
        (["methods"], [], ["methods", "at least 1"]),
        (["domains"], [], ["domains", "at least 1"]),
        (["models"], [], ["models", "at least 1"]),
        (["seeds"], [1, 1], ["seeds", "appears twice"]),
        (["methods"], [{"name": "sft"}, {"name": "sft"}], ["methods", "'sft'", "label"]),
        (
            ["methods"],
            [{"name": "sft"}, {"name": "sft", "label": "b"}],
            ["differ only in their label"],
        ),
        (["methods", 1, "options"], {"flor": 0.1}, ["flor", "did you mean 'floor'"]),
        (["methods", 1, "options"], {"floor": 1.5}, ["floor", "1.5", "less than or equal to 1"]),
        (["methods", 1, "options"], {"tau": -1.0}, ["tau", "-1.0"]),
        (["training", "batch_size"], "eight", ["training.batch_size", "'eight'", "integer"]),
        (["training", "micro_batch_size"], 3, ["training", "multiple", "divisor"]),
        (
            ["evaluation", "tasks"],
            {"piqa": 0},
            ["evaluation.tasks: task 'piqa': limit 0 must be from 1"],
        ),
        (
            ["domains", 0, "path"],
            "x.jsonl",
            ["domains.0.path: belongs to domain 'own', not 'medcalc'; remove it"],
        ),
        (["domains", 0, "metric"], "numeric", ["domains.0.metric: belongs to domain 'own'"]),
        (["domains", 0, "calculators"], [2, 2], ["domains.0.calculators: [2, 2] names one twice"]),
        (
            ["domains", 1, "calculators"],
            [2],
            ["domains.1.calculators: belongs to domain 'medcalc', not 'esci'"],
        ),
        (["domains", 0], "esci", ["domains.0: 'esci' is not a mapping; write {name: esci}"]),
        (["domains", 0], ["esci"], ["domains.0: ['esci'] is not a mapping; write {name: esci}"]),
        (
            ["domains", 0],
            None,
            [f"domains.0: null is not a mapping; write e.g. {{name: {DOMAINS[0]}}}"],
        ),
        (["domains", 0, "name"], ["esci"], ["domains.0.name: unknown \"['esci']\"; did you"]),
        (
            ["domains", 0, "name"],
            None,
            [f"domains.0.name: missing; add it, one of {', '.join(DOMAINS)}"],
        ),
        (
            ["domains", 0],
            {"name": "own", "pth": "x.jsonl", "n_trian": 3},
            [
                "domains.0.path: missing; add it",
                "domains.0.pth: unknown key; did you mean 'path'?",
                "domains.0.n_trian: unknown key; did you mean 'n_train'?",
            ],
        ),
        (["domains", 0], {"name": "own", "path": None}, ["domains.0.path: missing; add it"]),
        (
            ["domains", 0],
            {"name": "esci", "n_trian": 3, "metric": "numeric", "path": "x"},
            [
                "domains.0.n_trian: unknown key; did you mean 'n_train'?",
                "domains.0.metric, domains.0.path: belongs to domain 'own', not 'esci'; remove it",
            ],
        ),
        (
            ["assets"],
            {"x": {"source": "wheel", "repo": "a/b"}},
            ["assets.x.repo: belongs to source 'hub', not 'wheel'; remove it"],
        ),
        (
            ["domains", 0],
            {"n_train": 3},
            [f"domains.0.name: missing; add it, one of {', '.join(DOMAINS)}"],
        ),
        (["domains", 0, "n_train"], 0, ["domains.0.n_train: 0", "(range [1, 1e+09])"]),
        (["domains", 0, "n_train"], True, ["domains.0.n_train: true is not a number"]),
        (
            ["assets"],
            {"x": {"source": "hub", "rpo": "a/b"}},
            ["assets.x.rpo", "did you mean 'repo'"],
        ),
        (["domains"], [{"name": "own", "path": "x", "variant": "cot"}], ["'cot'", "remove it"]),
        (
            ["learning_rates", "full"],
            [0.01, 0.010000000000001],
            ["learning_rates.full", "0.01 and 0.010000000000001 are both 1e-2", "remove one"],
        ),
        (
            ["methods"],
            [{"name": "l2_reg", "grid": {"strength": [0.1, 0.10000000000001]}}],
            ["methods (label)", "'l2_reg-strength0.1' appears twice"],
        ),
        (["seeds"], [True], ["seeds: true is not a number; write one"]),
        (["seeds"], [2**64], ["seeds.0", "less than 9223372036854775808"]),
        (["training", "epochs"], True, ["training.epochs: true is not a number"]),
        (["training", "epochs"], math.inf, ["training.epochs: inf", "finite", "(0, 10000]"]),
        (["training", "epochs"], 1e300, ["training.epochs: 1e+300", "(0, 10000]"]),
        (["training", "epsilon"], math.inf, ["training.epsilon: inf", "finite"]),
        (["training", "epsilon"], 1e25, ["training.epsilon: 1e+25", "[1e-30, 1]"]),
        (["training", "weight_decay"], math.inf, ["training.weight_decay: inf", "finite"]),
        (["training", "max_grad_norm"], math.nan, ["training.max_grad_norm: nan", "finite"]),
        (["training", "betas"], [1.5, 0.9], ["training.betas.0: 1.5", "(range [0, 1))"]),
        (["training", "betas"], [0.9, -0.1], ["training.betas.1: -0.1", "or equal to 0"]),
        (
            ["evaluation", "tasks"],
            {"piqa": True},
            ["evaluation.tasks: 'piqa': true is not a number"],
        ),
        (["tolerance"], {"accuracy": False}, ["tolerance: 'accuracy': false is not a number"]),
        (["tolerance"], "accuracy=0.1 accuracy=0.2", ["tolerance: accuracy is given twice"]),
        (["tolerance"], "accuracy=0,1", ["tolerance: 'accuracy=0,1' has a comma between digits"]),
        (
            ["tolerance"],
            0.1,
            ["tolerance: 0.1 is not measure=number; write e.g. bits_per_byte=0.01"],
        ),
        (
            ["smallest_gain"],
            0.1,
            ["smallest_gain: 0.1 is not measure=number; write e.g. accuracy=0.01"],
        ),
        (["tolerance"], None, ["tolerance: null is not measure=number"]),
        (["smallest_gain"], {"bits": 0.1}, ["smallest_gain.bits", "'accuracy' or 'nll'"]),
        (
            ["smallest_gain"],
            "bits=0.1",
            ["smallest_gain: 'bits=0.1' is not measure=number, e.g. accuracy=0.01; choose one of"],
        ),
        (["smallest_gain"], {"nll": math.inf}, ["smallest_gain.nll: inf"]),
        (["domains", 0, "label"], "a" * 300, ["domains.0.label", "at most 100 characters"]),
        (["methods", 0, "label"], "a" * 300, ["methods.0.label", "at most 100 characters"]),
        (["assets"], "x", ["assets: 'x' is not a mapping; write 'key: value' lines below it"]),
        (["model_catalogue"], [1], ["model_catalogue: [1] is not a mapping"]),
        (["training"], None, ["training: null is not a mapping; write", ", or remove it"]),
        (["domains"], "esci", ["domains: 'esci' is not a list; write [{name: esci}]"]),
        (["domains"], {"name": "esci"}, ["domains: {'name': 'esci'} is not a list; begin the"]),
        (["methods"], "sft", ["methods: 'sft' is not a list; write [{name: sft}]"]),
        (["methods"], ["sft"], ["methods.0: 'sft' is not a mapping; write {name: sft}"]),
        (["models"], "quick", ["models: 'quick' is not a list; write ['quick']"]),
        (["seeds"], 3, ["seeds: 3 is not a list; write [3]"]),
        (["study"], 7, ["study: 7 is not text; put it in quotes"]),
        (
            ["domains", 0],
            {"name": "medcal", "n_trian": 3, "n_test": 5},
            ["domains.0.name: unknown 'medcal'", "domains.0.n_trian: unknown key; did you mean"],
        ),
        (
            ["seeds"],
            ["a"] * 20,
            ["  seeds.0, seeds.1, seeds.2, seeds.3, seeds.4, and 15 more: 'a' is not valid"],
        ),
        (["evaluation", "tasks"], {"piqa": 10**12}, ["task 'piqa': limit 1000000000000 must be"]),
        (["training", "weight_decay"], 1e5, ["training.weight_decay: 100000 times the learning"]),
        (["training", "epsilon"], 1e-320, ["training.epsilon: 1e-320", "[1e-30, 1]"]),
        (["training", "max_grad_norm"], 1e-20, ["training.max_grad_norm: 1e-20", "[1e-06, ∞)"]),
        (["learning_rates", "full"], [1e-30], ["learning_rates.full.0: 1e-30", "1e-12"]),
        (["domains", 0, "calculators"], [2], ["domains.0.calculators: 2 is not one of the supp"]),
        (["domains", 0, "label"], "ab" * 25, ["domains.0.label: 'abab", "repetitions of 'ab'"]),
        (["models"], ["m" * 30], ["models.0: 'mmm", "repetitions of 'm'"]),
        (["seeds"], list(range(5000)), ["40,000 runs, more than 10,000"]),
        (
            ["methods"],
            [{"name": "talr", "grid": {k: [0.1] * 999 for k in ("floor", "tau", "top_k")}}],
            ["runs, more than 10,000"],
        ),
        (
            ["model_catalogue"],
            {"mine": {"format": "random", "expected": {"piqa.acc": [0.7, 0.6]}}},
            ["model_catalogue.mine: expected: 'piqa.acc': 0.7 is above 0.6; swap them"],
        ),
    ],
)
def test_error_names_file_key_value_and_fix(path, value, words):
    with pytest.raises(ConfigError) as caught:
        study = parse_study(changed(path, value), "my.yaml")
        expand_runs(study)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        (["training", "weight_decay"], "1e-5", 1e-5),  # YAML 1.1 takes 1e-5 for text
        (["training", "epochs"], 3, 3.0),
        (["training", "batch_size"], 16.0, 16),
        (["training", "max_length"], "512", 512),
        (["keep_models"], True, True),
    ],
)
def test_numbers_are_read_however_yaml_gives_them(path, value, read):
    node = parse_study(changed(path, value), "my.yaml")
    for key in path:
        node = getattr(node, key)
    assert node == read and type(node) is type(read)


def test_run_names_that_no_folder_can_have_are_refused():
    """Each name is short enough; together they have more than 220 characters."""
    study = changed(["domains", 0, "label"], "d" * 99 + "x")
    study["methods"] = [{"name": "sft", "label": "m" * 99}]
    with pytest.raises(
        ConfigError, match=r"has 2\d\d characters, more than 220.*'label' for domain"
    ):
        expand_runs(parse_study(study, "my.yaml"))


@pytest.mark.parametrize("label", sorted({*BENCHMARKS, "general"}))
def test_a_domain_is_not_called_like_a_task(label):
    """Its scores would be the task's: no general score, or one of the domain's own items."""
    study = changed(["domains", 1, "label"], label)
    with pytest.raises(ConfigError, match=rf"domains\.1\.label: '{label}' .*another label"):
        check_files(parse_study(study, "s.yaml"), "s.yaml", BENCHMARKS)


def test_error_names_the_file(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_text(yaml.safe_dump(changed(["trainning"], {})))
    with pytest.raises(ConfigError, match=r"my\.yaml"):
        load_study(path)
    with pytest.raises(ConfigError, match="no such study; choose one of my"):
        load_study(tmp_path / "absent.yaml")
    path.write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_study(path)


@pytest.mark.parametrize(
    ("text", "found"), [("", "it is empty"), ("- a\n", r"this is \['a'\]"), ("a\n", "this is 'a'")]
)
def test_what_is_no_study_is_refused(tmp_path, text, found):
    path = tmp_path / "my.yaml"
    path.write_text(text)
    words = f"a study is made of 'key: value' lines, but {found}; begin with a copy of config/"
    with pytest.raises(ConfigError, match=words):
        load_study(path)


def test_all_errors_are_reported_together():
    study = changed(["trainning"], {})
    study["seeds"] = [-1]
    with pytest.raises(ConfigError) as caught:
        parse_study(study, "my.yaml")
    assert "trainning" in str(caught.value) and "seeds.0" in str(caught.value)


@pytest.mark.parametrize(
    "path", sorted(Path("config/studies").glob("*.yaml")), ids=lambda p: p.stem
)
def test_every_study_is_valid_and_named_after_its_file(path):
    study = load_study(path)
    assert study.study == path.stem
    assert expand_runs(study)


def test_schema_file_is_up_to_date():
    """Run `make schema` after changing config.py."""
    assert SCHEMA_PATH.read_text() == study_schema()
    json.loads(study_schema())


def test_run_table_by_hand():
    """1 model × 2 domains × 2 methods × 2 rates = 8 runs, and θ0."""
    study = parse_study(GOOD, "my.yaml")
    table = run_table(study)
    assert len(table) == 9
    assert table["run"].is_unique
    assert table["run"][0] == base_run("smollm2-135m-instruct")
    assert table["run"][1] == "smollm2-135m-instruct.medcalc-cot.sft.lr1e-5.seed0"
    configs = evaluation_configs(study)
    assert [d.label for d in configs[table["run"][0]].domains] == ["medcalc-cot", "esci-label_only"]
    assert [d.label for d in configs[table["run"][8]].domains] == ["esci-label_only"]


def test_cross_domain_evaluates_every_run_on_every_domain():
    """In the order of the study, as θ0; nothing else of the evaluations changes."""
    own, crossed = (
        evaluation_configs(parse_study(GOOD | {"evaluation": evaluation}, "my.yaml"))
        for evaluation in ({}, {"cross_domain": True})
    )
    for name, config in crossed.items():
        assert [d.label for d in config.domains] == ["medcalc-cot", "esci-label_only"]
        same = config.evaluation.model_copy(update={"cross_domain": False})
        assert same == own[name].evaluation
    study = parse_study(GOOD, "my.yaml")
    assert not study.is_crossed
    alone = GOOD | {"domains": GOOD["domains"][:1], "evaluation": {"cross_domain": True}}
    assert not parse_study(alone, "my.yaml").is_crossed


def test_tokens_are_recorded_by_every_run_without_repeating_earlier_ones():
    """Off, no run's settings mention it; averages train nothing; all read θ0's losses."""
    methods = {"methods": [{"name": "sft"}, {"name": "wise_ft"}]}
    off, on = (
        parse_study(GOOD | methods | {"record_tokens": wanted}, "my.yaml")
        for wanted in (False, True)
    )
    for run in (*expand_runs(off), *evaluation_configs(off).values()):
        assert "record_tokens" not in run.model_dump(mode="json")
    for run in expand_runs(on):
        averaged = run.method.name == "wise_ft"
        assert run.record_tokens == run.needs_reference == (not averaged)
        assert type(run).model_validate_json(run.model_dump_json()) == run
    assert all(config.record_tokens for config in evaluation_configs(on).values())
    assert not any(run.needs_reference for run in expand_runs(off))
    assert set(aggregated_tables(on)) - set(aggregated_tables(off)) == set(TOKEN_TABLES)


def test_tokens_need_a_backend_that_gives_them():
    study = GOOD | {"record_tokens": True, "evaluation": {"backend": "vllm"}}
    with pytest.raises(ConfigError, match=r"record_tokens: true, but evaluation.backend 'vllm'"):
        parse_study(study, "my.yaml")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-5, "1e-5"), (2e-5, "2e-5"), (1.5e-4, "1.5e-4"), (0.01, "1e-2"), (0.3, "3e-1")],
)
def test_learning_rates_are_spelt_exactly(value, text):
    assert format_learning_rate(value) == text
    assert float(text) == value


def test_learning_rates_close_to_a_power_of_ten_have_its_name():
    assert format_learning_rate(9.99999999999e-6) == format_learning_rate(1e-5) == "1e-5"


@given(st.floats(1e-12, 0.999))
def test_names_of_learning_rates_hold_ten_digits(value):
    assert float(format_learning_rate(value)) == pytest.approx(value, rel=5e-10)


def test_the_catalogue_is_checked(tmp_path, monkeypatch):
    path = tmp_path / "catalogue.yaml"
    monkeypatch.setattr("sft_tradeoff.study.config.CATALOGUE_PATH", path)
    for text, words in [
        ("models: {}", "needs exactly the keys 'assets' and 'models'"),
        ("assets: {}\nmodels: [a]", "models: must map names to entries"),
        ("assets: {}\nmodels: {a: {}, a: {}}", "line 2: key 'a' is given twice"),
    ]:
        path.write_text(text)
        with pytest.raises(ConfigError, match=rf"catalogue\.yaml: {words}"):
            parse_study(GOOD, "my.yaml")


def test_the_methods_of_the_documentation_can_be_switched_on():
    """The block in config/README.md, put into the quick study: every method, with its grid."""
    text = Path("config/README.md").read_text().split("```yaml")[1].split("```")[0]
    block = yaml.safe_load(text)
    study = yaml.safe_load(Path("config/studies/quick.yaml").read_text())
    runs = expand_runs(parse_study({**study, **block}, "quick.yaml"))
    differing = {method["name"] for method in block["methods"]} ^ set(METHODS)
    assert not differing, f"config/README.md, block under 'Methods': add or remove {differing}"
    grids = [method.get("grid", {}).values() for method in block["methods"]]
    n_settings = sum(math.prod(map(len, grid)) for grid in grids)
    assert n_settings > len(METHODS), "config/README.md, block under 'Methods': show a grid"
    assert len(runs) == 3 * n_settings  # rates × methods with their grids


def test_every_option_is_documented():
    text = Path("config/keys.md").read_text()
    for method in METHODS.values():
        for option, field in method.options.model_fields.items():
            assert field.description, f"{method.name}: {option}"
            assert f"`{option}`" in text, f"{method.name}: {option}"


def test_wise_ft_shares_the_runs_of_the_method_it_averages():
    """Two values of α, one trained run each per domain and rate; the adapter's rates for LoRA."""
    methods = [
        {"name": "lora"},
        {"name": "wise_ft", "options": {"of": "lora"}, "grid": {"alpha": [0.25, 0.5]}},
    ]
    rates = {"adapter": [1e-3, 1e-2]}
    study = {**GOOD, "methods": methods, "learning_rates": rates}
    runs = {run.run: run for run in expand_runs(parse_study(study, "s.yaml"))}
    merged = [run for run in runs.values() if run.merge_of]
    assert len(merged) == 2 * 2 * 2
    for run in merged:
        source = runs[run.merge_of]
        assert source.method.name == "lora" and source.merge_of is None
        assert (source.domain, source.learning_rate) == (run.domain, run.learning_rate)
    assert {run.method.label for run in merged} == {"wise_ft-alpha0.25", "wise_ft-alpha0.5"}


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ([{"name": "wise_ft"}], ["'wise_ft' averages θ0 with the run of 'sft'", "- name: sft"]),
        (
            [{"name": "talr"}, {"name": "wise_ft", "options": {"of": "tarl"}}],
            ["of 'tarl'", "one of talr"],
        ),
        ([{"name": "sft"}, {"name": "wise_ft", "grid": {"alpha": [0.5, 1.5]}}], ["alpha: 1.5"]),
        ([{"name": "wise_ft", "grid": {"alpha": []}}], ["grid.alpha"]),
        (
            [{"name": "talr", "options": {"floor": 0.1}, "grid": {"floor": [0.0]}}],
            ["'talr'", "['floor'] is in options and in grid"],
        ),
        ([{"name": "talr", "grid": {"flor": [0.1]}}], ["flor: unknown key", "'floor'"]),
        ([{"name": "sft", "options": {"x": 1}}], ["x: unknown key; there are none; remove it"]),
        ([{"name": "lora"}], ["learning_rates.adapter is empty", "'lora'"]),
    ],
)
def test_wrong_methods_are_refused(methods, words):
    with pytest.raises(ConfigError) as error:
        parse_study({**GOOD, "methods": methods}, "s.yaml")
    for word in ("s.yaml", *words):
        assert word in str(error.value)


@pytest.mark.parametrize(
    ("evaluation", "words"),
    [
        (
            {"tasks": {"humaneval": 1}, "execute_code": True, "chat_template": True},
            "evaluation.chat_template: true, but the prompts of task 'humaneval' need false",
        ),
        (
            {"tasks": {"humaneval_instruct": 1}, "execute_code": True},
            "evaluation.chat_template: false, but the prompts of task 'humaneval_instruct' need",
        ),
    ],
)
def test_tasks_that_need_another_prompt_form_are_refused(evaluation, words):
    with pytest.raises(ConfigError, match=words):
        check_files(parse_study({**GOOD, "evaluation": evaluation}, "s.yaml"), "s.yaml", BENCHMARKS)


@pytest.mark.parametrize("key", ["pika.acc_norm", "piqa"])
def test_expected_scores_are_those_of_tasks(key):
    entry = {"mine": {"format": "random", "expected": {key: [0.6, 0.7]}}}
    study = parse_study({**GOOD, "models": ["mine"], "model_catalogue": entry}, "s.yaml")
    with pytest.raises(
        ConfigError, match=rf"model_catalogue.mine.expected: '{key}' is not task.me"
    ):
        check_files(study, "s.yaml", BENCHMARKS)


def test_gsm8k_is_no_general_ability_of_the_math_domain():
    study = {**GOOD, "domains": [{"name": "math"}], "evaluation": {"tasks": {"gsm8k": 5}}}
    with pytest.raises(ConfigError, match=r"'gsm8k' tests what domain 'math' trains"):
        check_domains(parse_study(study, "s.yaml"), "s.yaml")


def test_an_average_of_averages_is_refused_with_the_methods_that_train():
    methods = [
        {"name": "sft"},
        {"name": "wise_ft"},
        {"name": "wise_ft", "label": "again", "options": {"of": "wise_ft"}},
    ]
    with pytest.raises(ConfigError, match=r"'again' averages 'wise_ft', which is an average.*sft"):
        parse_study({**GOOD, "methods": methods}, "s.yaml")


def test_generated_code_needs_permission_before_any_job():
    tasks = {"tasks": {"human_eval": 5}}
    study = parse_study({**GOOD, "evaluation": tasks}, "s.yaml")
    with pytest.raises(ConfigError, match=r"s.yaml: evaluation.execute_code: false.*'human_eval'"):
        check_files(study, "s.yaml", BENCHMARKS)
    study = parse_study({**GOOD, "evaluation": {**tasks, "execute_code": True}}, "s.yaml")
    check_files(study, "s.yaml", BENCHMARKS)
