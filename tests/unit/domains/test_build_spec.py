"""The settings that ``build-domain --spec`` reads."""

import pytest

from sft_tradeoff import cli
from sft_tradeoff.domains.build import parse_domain
from sft_tradeoff.domains.registry import SPECS, domain_spec


def test_the_settings_are_those_of_the_study():
    text = '{"name": "esci", "n_train": 3, "path": null}'
    assert parse_domain(text) == domain_spec(name="esci", n_train=3)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('{"name": "esci", "n_trian": 3}', "n_trian: unknown key; did you mean 'n_train'?"),
        ('{"name": "esci", "n_train": 0}', "n_train: 0 is not valid: input should be greater"),
        ('{"name": "esic"}', "name: unknown 'esic'; did you mean 'esci'?"),
        ('{"n_train": 3}', f"name: missing; add it, one of {', '.join(sorted(SPECS))}"),
        ('"esci"', "'esci' is not a mapping; write {name: esci}"),
        ('{"name": "esci"', "invalid JSON: EOF while parsing an object at line 1"),
        (
            '{"name": "own", "pth": "x"}',
            "path: missing; add it; pth: unknown key; did you mean 'path'?",
        ),
    ],
)
def test_wrong_settings_end_in_one_line(text, line, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["build-domain", "--spec", text, "--out", str(tmp_path / "out")])
    assert caught.value.code == 1
    errors = capsys.readouterr().err
    assert errors.startswith(f"[domain] error: --spec: {line}") and errors.count("\n") == 1
    assert not (tmp_path / "out").exists()
