"""The cost of a study: formulas by hand, and the order of what was measured."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from sft_tradeoff import cli
from sft_tradeoff.models.tokenized import TokenizedData
from sft_tradeoff.planning import cost
from sft_tradeoff.planning.cost import CostError, Hardware
from sft_tradeoff.planning.evaluation_cost import divergence_hours
from sft_tradeoff.study.config import parse_study
from sft_tradeoff.study.runs import evaluation_configs, expand_runs
from sft_tradeoff.study.spec import RefineSpec
from sft_tradeoff.training.memory import estimate, model_size

TINY = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}
N_TINY = 1992  # embedding 800, two layers of 64 + 32 + 32 + 64 + 3·128 + 16 = 592, last norm 8
SLOW = Hardware(tflops=1e-9, utilization=0.5, bandwidth=1e-6, step_s=0)  # 500 FLOP/s, 1000 B/s
METHODS = [
    *("sft", "talr", "flow", "l2_reg", "lora", "kl_reg", "asft", "dft", "eaft", "stm", "psft"),
    "token_subset",
]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SFT_TRADEOFF_CACHE", str(tmp_path / "cache"))


def study_of(**changes):
    """One tiny model on esci without explanations: 139 + 9 tokens."""
    text = {
        "study": "costs",
        "models": ["tiny"],
        "domains": [{"name": "esci", "variant": "label_only", "n_train": 10, "n_test": 4}],
        "methods": [{"name": "sft"}],
        "learning_rates": {"full": [1e-5], "adapter": [1e-4]},
        "training": {"epochs": 2, "batch_size": 8, "micro_batch_size": 8},
        "assets": {"here": {"source": "local", "path": "nowhere"}},
        "model_catalogue": {"tiny": {"asset": "here", "architecture": TINY}},
    }
    return parse_study({**text, **changes}, "costs.yaml")


def passes_of(**training):
    methods = [{"name": name} for name in METHODS]
    study = study_of(methods=methods, training={"batch_size": 8, **training})
    return {run.method.label: cost.passes(run) for run in expand_runs(study)}


def test_passes_per_token():
    """Forward 1, backward 2 (adapters 1); θ0 beside the model and the old model one more."""
    whole = {name: 3 for name in METHODS} | {"lora": 2, "kl_reg": 4, "asft": 4, "psft": 4}
    assert passes_of(micro_batch_size=8) == whole
    checkpointed = passes_of(micro_batch_size=8, gradient_checkpointing=True)
    assert checkpointed == {name: n + 1 for name, n in whole.items()}
    # Cut in two, TALR's weights need the whole batch's losses first; two processes cut nothing.
    assert passes_of(micro_batch_size=4) == whole | {"talr": 4}
    assert passes_of(micro_batch_size=4, processes=2) == whole


def test_training_hours():
    """Two runs of 2 epochs · 10 examples · 148 tokens, 3 passes of 2·1000; θ0 once over 1480."""
    study = study_of(methods=[{"name": "sft"}, {"name": "flow"}])
    runs = expand_runs(study)
    assert [cost.training_tokens(study, run) for run in runs] == [2960, 2960]
    flops = 2 * 2960 * 3 * 2000 + 1480 * 2000
    assert cost.training_hours(study, runs, 1000, SLOW) == pytest.approx(flops / 500 / 3600)


@pytest.mark.parametrize(
    ("backend", "step_s", "expected_step_s"), [("hf", 0, 2), ("hf", 5, 5), ("vllm", 5, 2)]
)
def test_evaluation_hours(backend, step_s, expected_step_s):
    """4 examples read 592 tokens, write 36; 10 of piqa read 1000; 8 of asdiv 1600, write 2000.

    So 3192·2000 operations at 500/s, and 2036/4 steps that read 2000 bytes at 1000/s each.
    """
    evaluation = {"tasks": {"piqa": 10, "asdiv": 8}, "batch_size": 4, "backend": backend}
    study = study_of(evaluation=evaluation)
    hardware = Hardware(SLOW.tflops, SLOW.utilization, SLOW.bandwidth, step_s)
    hours = cost.evaluation_hours(study, evaluation_configs(study)["tiny.base"], 1000, hardware)
    assert hours == pytest.approx((3192 * 2000 / 500 + 2036 / 4 * expected_step_s) / 3600)


def test_scores_of_epochs_belong_to_training():
    """3 epochs (2.5) · 5 examples of 139 + 9 tokens, in two parts; two processes wait for 135 / 4
    steps of 4 s.
    """
    training = {"epochs": 2.5, "batch_size": 8, "processes": 2}
    domains = [{"name": "esci", "variant": "label_only", "n_train": 10, "n_validation": 5}]
    plain, best = (
        study_of(
            domains=domains, training=training | {"select": select}, evaluation={"batch_size": 4}
        )
        for select in ("last", "best_domain")
    )
    seconds = 15 * 148 * 4000 / 500 + 135 / 4 * 4
    hours = [cost.training_hours(s, expand_runs(s), 1000, SLOW) for s in (plain, best)]
    assert hours[1] - hours[0] == pytest.approx(2 * seconds / 3600)
    weights = [cost.model_cost(s, "tiny", SLOW).weights for s in (plain, best)]
    assert weights[1] - weights[0] == 2 * 4 * N_TINY
    assert any("after every epoch" in line for line in cost.assumptions(best, SLOW))


@pytest.mark.parametrize(
    ("settings", "passes"),
    [
        ({}, 2 + 16 + 1),  # smaller batches, float32; the run as shipped
        ({"as_shipped": False}, 2 + 16),
        ({"dtype": "float32"}, 2 + 1),
        ({"backend": "vllm"}, 16),
    ],
)
def test_hours_of_scoring_again(settings, passes):
    """592 tokens of the domain and 3 · 220 of texts; piqa is not scored again."""
    tasks = {"tasks": {"piqa": 10, "code_length_dialogue": 3}}
    study = study_of(evaluation=tasks | settings)
    configs = list(evaluation_configs(study).values())
    hours = cost.rescoring_hours(study, configs, 1000, SLOW)
    assert hours == pytest.approx(passes * (592 + 660) * 2000 / 500 / 3600)


def divergence_of(**evaluation):
    study = study_of(evaluation=evaluation)
    configs = list(evaluation_configs(study).values())
    return divergence_hours(study, configs, 1000, SLOW) * 3600


def test_hours_of_measuring_the_divergence():
    """Of 4 test prompts of 139 tokens, 48 positions need 3; θ0 reads them twice, the run once."""
    assert divergence_of(kl_positions=0) == divergence_of(backend="vllm") == 0
    prompts = 3 * 3 * 139 * 16 * 2000 / 500
    assert divergence_of(kl_positions=48) == pytest.approx(prompts)
    assert divergence_of(kl_positions=256) == pytest.approx(prompts * 4 / 3)
    # 10 texts of 512 tokens, at most 4 at a time: 3 · 512 steps that read 4000 bytes.
    texts = 3 * 10 * 512 * 16 * 2000 / 500 + 3 * 512 * 4
    found = divergence_of(kl_positions=0, sampled_texts=10, sampled_tokens=512)
    assert found == pytest.approx(texts)


def test_theta0s_statistics_are_needed_where_kl_is_measured():
    """Without flow: θ0 once over 10 examples of 148 tokens for its mean probability."""
    with_kl, without = (study_of(evaluation={"kl_positions": n}) for n in (1, 0))
    hours = [cost.training_hours(s, expand_runs(s), 1000, SLOW) for s in (with_kl, without)]
    assert hours[0] - hours[1] == pytest.approx(1480 * 2000 / 500 / 3600)


@pytest.mark.parametrize(("backend", "n_parts"), [("hf", 2), ("vllm", 1)])
def test_trained_weights_are_read_in_two_parts(backend, n_parts):
    """4 examples read 592 tokens and write 36 in batches of 32."""
    study = study_of(evaluation={"backend": backend})
    config = next(c for name, c in evaluation_configs(study).items() if name != "tiny.base")
    hours = cost.evaluation_hours(study, config, 1000, SLOW)
    assert hours == pytest.approx((592 * 2000 / 500 + 36 / 32 * 2) * n_parts / 3600)


def test_cross_domain_adds_the_other_tests_to_each_run():
    """As θ0, which is asked all domains anyway, but in two parts; one domain costs the same."""
    domains = [
        {"name": "esci", "variant": variant, "n_train": 10, "n_test": 4}
        for variant in ("cot", "label_only")
    ]

    def hours(domains, crossed):
        study = study_of(domains=domains, evaluation={"cross_domain": crossed})
        configs = evaluation_configs(study).values()
        return [cost.evaluation_hours(study, config, 1000, SLOW) for config in configs]

    base, *own = hours(domains, crossed=False)
    assert base == pytest.approx(sum(own) / 2)
    assert hours(domains, crossed=True) == pytest.approx([base, 2 * base, 2 * base])
    assert hours(domains[:1], crossed=True) == hours(domains[:1], crossed=False)


def test_a_whole_benchmark_is_asked_where_no_number_is_given():
    study = study_of(evaluation={"tasks": {"code_length_dialogue": None}})
    one = study_of(evaluation={"tasks": {"code_length_dialogue": 1}})
    hours = [
        cost.evaluation_hours(s, evaluation_configs(s)["tiny.base"], 1000, SLOW)
        for s in (study, one)
    ]
    assert hours[0] - hours[1] == pytest.approx(89 * 220 * 2000 / 500 / 3600)


def test_disk_and_memory():
    """Float32 masters of 4·1992 bytes; a point of three such, twice; merges keep sft's weights.

    Two domains: at most one set for the job at work and two that averages wait for.
    """
    domains = [
        {"name": "esci", "variant": variant, "n_train": 10} for variant in ("cot", "label_only")
    ]
    methods = [{"name": "sft"}, {"name": "l2_reg"}, {"name": "wise_ft"}]
    study = study_of(domains=domains, methods=methods)
    found = cost.model_cost(study, "tiny", SLOW)
    assert (found.n_parameters, found.n_trained, found.n_averaged) == (N_TINY, 4, 2)
    assert found.cache == 2 * N_TINY
    assert found.weights == 3 * 4 * N_TINY
    assert found.resume == 2 * 3 * 4 * N_TINY
    assert cost.model_cost(study, "tiny", SLOW, n_jobs=2).resume == 2 * found.resume
    run = next(run for run in expand_runs(study) if run.method.name == "l2_reg")
    config = cost.architecture(study, "tiny")
    assert found.memory == estimate(config, run, study.training.max_length, on_gpu=True).total
    assert found.memory_method == "l2_reg"
    kept = study_of(domains=domains, methods=methods, keep_models=True)
    assert cost.model_cost(kept, "tiny", SLOW).weights == 6 * 4 * N_TINY


def test_tokens_of_the_data_count_where_there_are_some(tmp_path, monkeypatch):
    """Two examples of 3 and 5 tokens, 1 and 3 of them learned: 2 + 2 on average."""
    study = study_of()
    monkeypatch.chdir(tmp_path)
    domain = study.domains[0]
    assert cost.example_tokens(study, "tiny", domain) == (139, 9)
    data = TokenizedData(
        input_ids=np.arange(8, dtype=np.int32),
        response_mask=np.array([0, 0, 1, 0, 0, 1, 1, 1], bool),
        offsets=np.array([0, 3, 8]),
        truncated=np.zeros(2, bool),
        cluster=np.arange(2),
    )
    path = tmp_path / "results/costs/tokenized/tiny/esci-label_only/train.npz"
    path.parent.mkdir(parents=True)
    data.save(path)
    assert cost.example_tokens(study, "tiny", domain) == (2, 2)


def test_own_data_count_by_their_bytes(tmp_path):
    """Prompts of 20 and 40 bytes, responses of 16: 7.5 and 4 tokens, at most max_length."""
    path = tmp_path / "mine.csv"
    path.write_text(f"prompt,response\n{'é' * 10},{'x' * 16}\n{'x' * 40},{'x' * 16}\n")
    domains = [{"name": "own", "path": str(path)}]
    study = study_of(domains=domains)
    assert cost.example_tokens(study, "tiny", study.domains[0]) == (7.5, 4)
    short = study_of(domains=domains, training={"max_length": 8})
    assert cost.example_tokens(short, "tiny", short.domains[0]) == (4, 4)
    path.write_text("prompt\n")
    with pytest.raises(CostError, match="cannot be used"):
        cost.example_tokens(study, "tiny", study.domains[0])


@pytest.mark.parametrize(
    ("model", "n_parameters"),
    [
        ("smollm2-135m-instruct", 134_515_008),
        ("qwen2-5-3b-instruct", 3_085_938_688),
        ("qwen3-4b", 4_022_468_096),
    ],
)
def test_sizes_of_the_catalogue(model, n_parameters):
    """The numbers that the weight files of these models hold."""
    assert model_size(cost.architecture(study_of(models=[model]), model)).total == n_parameters


def test_unknown_size_is_refused():
    unknown = {"tiny": {"asset": "here"}}
    with pytest.raises(CostError, match=r"'tiny': its size is unknown.*add 'architecture'"):
        cost.architecture(study_of(model_catalogue=unknown), "tiny")
    strange = {"tiny": {"asset": "here", "architecture": {"model_type": "strange"}}}
    with pytest.raises(CostError, match=r"'tiny': architecture\.model_type 'strange' is unknown"):
        cost.architecture(study_of(model_catalogue=strange), "tiny")
    for field in ({"hidden_size": -1}, {"hidden_size": "x"}, {"num_attention_heads": 0}):
        wrong = {"tiny": {"asset": "here", "architecture": {"model_type": "llama"} | field}}
        with pytest.raises(CostError, match=r"'tiny': architecture does not describe a model \("):
            cost.model_cost(study_of(model_catalogue=wrong), "tiny", cost.Hardware())


def test_order_of_what_was_measured():
    """Runs of the quick study on one CPU core; the speed of one predicts the time of another.

    SFT learned 118 tokens/s on esci; TALR on medcalc took 103 s for 40 examples.
    """
    sft = {"n_tokens": 9410, "tokens_per_s": 118.3, "time_s": 79.5}
    talr = {"n_tokens": 10382, "tokens_per_s": 100.8, "time_s": 103.0}
    domain = {"name": "medcalc", "variant": "cot", "n_train": 40}
    study = study_of(
        models=["smollm2-135m-instruct"],
        domains=[domain],
        methods=[{"name": "talr"}],
        training={"batch_size": 4, "micro_batch_size": 4, "max_length": 768},
    )
    n = 134_515_008
    core = Hardware(tflops=6 * n * sft["tokens_per_s"] / 1e12, utilization=1)
    seconds = 3600 * cost.training_hours(study, expand_runs(study), n, core)
    assert talr["time_s"] / 2 < seconds < talr["time_s"] * 2


def test_command_prints_table_and_assumptions(tmp_path, monkeypatch, capsys):
    """P = 1992 is 0.00 B; both forms state their assumptions."""
    path = tmp_path / "costs.yaml"
    path.write_text(study_of().model_dump_json(exclude={"assets", "model_catalogue"}))
    monkeypatch.setattr(cost, "load_study", lambda _: study_of())
    cli.main(["cost", "--study", str(path), "--tflops", "200"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Estimate by formula, not measured: study costs"
    row = next(line for line in lines if line.startswith("| tiny "))
    assert [cell.strip() for cell in row.split("|")][1:7] == (
        ["tiny", "0.00 B", "1 (0)", "0.0 M", "0.0", "0.0"]
    )
    assert any("70 TFLOP/s in training and scoring (35% of 200)" in line for line in lines)
    assert any("esci-label_only 139 + 9; 2 epochs" in line for line in lines)
    assert not any("Refinement" in line for line in lines)
    refining = study_of(methods=[{"name": "sft"}, {"name": "wise_ft", "options": {"alpha": 0.5}}])
    refining = refining.model_copy(update={"refine": RefineSpec(rounds=3)})
    monkeypatch.setattr(cost, "load_study", lambda _: refining)
    cli.main(["cost", "--study", str(path)])
    assert "(two rates per method and round) 6 runs (6 averages)" in capsys.readouterr().out
    cli.main(["cost", "--study", str(path), "--json"])
    found = SimpleNamespace(**json.loads(capsys.readouterr().out))
    assert found.models[0]["n_parameters"] == N_TINY
    assert found.hardware["tflops"] == 400 and len(found.assumptions) == 7


def test_a_model_that_starts_from_a_run_is_as_large_as_the_pretrained_one():
    """Its θ0 stays on the disk, as large as the weights of one run, and is not fetched."""
    start = {"model": "tiny", "domain": "esci-label_only", "method": "sft"}
    entries = {
        "tiny": {"asset": "here", "architecture": TINY},
        "warm": {"start_from": {**start, "learning_rate": 1e-5, "seed": 0}},
    }
    other = {"name": "esci", "variant": "label_only", "label": "b", "n_train": 20, "n_test": 4}
    domains = [{"name": "esci", "variant": "label_only", "n_train": 10, "n_test": 4}, other]
    study = study_of(
        models=["tiny", "warm"],
        model_catalogue=entries,
        domains=domains,
        start_only=["esci-label_only"],
    )
    plain, warm = (cost.model_cost(study, name, SLOW) for name in study.models)
    assert (warm.n_parameters, warm.n_trained) == (N_TINY, 1) and plain.n_trained == 2
    assert (plain.cache, warm.cache) == (2 * N_TINY, 0)
    assert (plain.weights, warm.weights) == (4 * N_TINY, 2 * 4 * N_TINY)
    assert warm.evaluation == pytest.approx(warm_evaluation(study))
    assert any("that warm start from" in line for line in cost.assumptions(study, SLOW))
    assert not any("start from" in line for line in cost.assumptions(study_of(), SLOW))


def warm_evaluation(study):
    """θ0 and one run, both on both domains, and the noise floor."""
    configs = [c for c in evaluation_configs(study).values() if c.model == "warm"]
    assert [len(c.domains) for c in configs] == [2, 2]
    one = [cost.evaluation_hours(study, c, N_TINY, SLOW) for c in configs]
    assert one[0] == one[1], "its θ0 has trained weights, too"
    further = (cost.rescoring_hours, cost.divergence_hours)
    return sum(one) + sum(hours(study, configs, N_TINY, SLOW) for hours in further)
