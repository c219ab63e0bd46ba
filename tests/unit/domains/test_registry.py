"""What every domain of the registry states, and what its settings accept."""

import importlib
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from pydantic import ValidationError

from sft_tradeoff.domains.base import Domain, Score
from sft_tradeoff.domains.registry import DOMAIN_SPEC, SPECS, domain_spec, get_domain
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.study.config import read_catalogue
from sft_tradeoff.suite.registry import BENCHMARKS
from sft_tradeoff.system.validation import explain

NEEDED = {"own": {"path": "mine.jsonl"}}


def spec_of(name, **changes):
    return domain_spec(name=name, **NEEDED.get(name, {}), **changes)


@pytest.mark.parametrize("name", SPECS)
def test_what_a_domain_states_fits_together(name):
    spec, domain = spec_of(name), get_domain(name)
    assert isinstance(domain, Domain) and type(spec) is SPECS[name]
    assert spec.variant == spec.variants()[0] and spec.label == f"{name}-{spec.variant}"
    assert set(domain.max_new_tokens) == set(spec.variants())
    assert set(spec.example_tokens) in (set(spec.variants()), set())
    assert set(spec.assets) <= set(read_catalogue()["assets"])
    assert set(spec.trained_tasks) <= set(BENCHMARKS)
    for variant in spec.variants():
        assert spec_of(name, variant=variant).label == f"{name}-{variant}"


@pytest.mark.parametrize("name", SPECS)
def test_settings_are_the_same_after_writing_and_reading(name):
    spec = spec_of(name, seed=3)
    assert DOMAIN_SPEC.validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("name", SPECS)
def test_options_of_another_domain_are_refused_by_their_owners_name(name):
    for other, spec in SPECS.items():
        for option in spec.model_fields.keys() - SPECS[name].model_fields.keys():
            with pytest.raises(ValidationError) as caught:
                spec_of(name, **{option: 3})
            text = explain(caught.value, DOMAIN_SPEC.json_schema())
            assert text == f"{option}: belongs to domain '{other}', not '{name}'; remove it"
            assert spec_of(name, **{option: None}) == spec_of(name)  # null: not set


def test_options_are_those_of_the_domain_alone():
    shared = set(DomainSpec.model_fields)
    own = {name: set(spec.model_fields) - shared for name, spec in SPECS.items()}
    assert own["medcalc"] == {"calculators"}
    assert own["own"] == {"path", "columns", "metric", "tolerance"}
    assert own["esci"] == {"departments"}
    assert own["math"] == set()


def test_the_domain_of_the_guide_works(tmp_path, monkeypatch):
    """The file that README.md shows, imported as it is."""
    guide = Path("src/sft_tradeoff/domains/README.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", guide, re.DOTALL)[1]
    (tmp_path / "addition.py").write_text(textwrap.dedent(code), encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    addition = importlib.import_module("addition")
    spec = addition.AdditionSpec(name="addition", n_train=5, n_validation=0, n_test=2)
    assert spec.module() == "addition" and spec.label == "addition-label_only"
    splits = addition.DOMAIN.generate(spec)
    assert {split: len(examples) for split, examples in splits.items()} == {
        "train": 5,
        "validation": 0,
        "test": 2,
    }
    for example in [*splits["train"], *splits["test"]]:
        assert addition.DOMAIN.score(example.to_dict(), example.response).correct
    assert addition.DOMAIN.score({"answer": "5"}, "none") == Score(False, None)


def test_planning_a_study_imports_no_data_library():
    code = (
        "import sys; import sft_tradeoff.domains.registry; "
        "print(sorted({'torch', 'numpy', 'pandas', 'pyarrow', 'medcalc', 'reasoning_gym'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
