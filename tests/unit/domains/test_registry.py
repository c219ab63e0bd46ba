"""What every domain of the registry states, and what its settings accept."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from sft_tradeoff.domains.base import Domain
from sft_tradeoff.domains.registry import DOMAIN_SPEC, SPECS, domain_spec, get_domain
from sft_tradeoff.domains.spec import DomainSpec
from sft_tradeoff.study.config import read_catalogue
from sft_tradeoff.suite.registry import BENCHMARKS

NEEDED = {"jsonl": {"path": "mine.jsonl"}}


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
            with pytest.raises(ValidationError, match=rf"'{option}' belongs to domain '{other}', "):
                spec_of(name, **{option: None})


def test_options_are_those_of_the_domain_alone():
    shared = set(DomainSpec.model_fields)
    own = {name: set(spec.model_fields) - shared for name, spec in SPECS.items()}
    assert own["medcalc"] == {"calculators"}
    assert own["jsonl"] == {"path", "metric", "tolerance"}
    assert not any(own[name] for name in SPECS.keys() - {"medcalc", "jsonl"})


def test_planning_a_study_imports_no_data_library():
    code = (
        "import sys; import sft_tradeoff.domains.registry; "
        "print(sorted({'torch', 'numpy', 'pandas', 'pyarrow', 'medcalc', 'reasoning_gym'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
