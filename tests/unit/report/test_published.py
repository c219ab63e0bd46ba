"""Published files do not change unnoticed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from sft_tradeoff.report.published import PublishError, verified_studies, verify
from tests.finished_study import RECORDS, RUN, TABLES


def test_sha256sum_reads_the_checksums(published: Path) -> None:
    """They cover the manifest too. The tool is the system's, not the project's."""
    command = ["sha256sum", "--check", "--strict", "MANIFEST.sha256"]
    done = subprocess.run(command, cwd=published, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(TABLES | RECORDS) + 2


@pytest.mark.parametrize(
    "name", ["tradeoff_over_seeds.csv", f"runs/{RUN}/eval.json", "MANIFEST.json"]
)
@pytest.mark.parametrize("change", ["edit", "remove"])
def test_a_changed_file_is_named(published: Path, name: str, change: str) -> None:
    verify(published)
    if change == "edit":
        data = (published / name).read_bytes()
        (published / name).write_bytes(data[:-2] + bytes([data[-2] ^ 1]) + data[-1:])
    else:
        (published / name).unlink()
    with pytest.raises(PublishError, match=f"{re.escape(str(published / name))}: changed, removed"):
        verify(published)


def test_an_added_file_and_missing_checksums_are_named(published: Path) -> None:
    (published / "runs" / "more.csv").write_text("1\n")
    with pytest.raises(PublishError, match=r"runs/more\.csv: changed, removed or added"):
        verified_studies(published.parent)
    (published / "MANIFEST.sha256").unlink()
    with pytest.raises(PublishError, match=r"MANIFEST\.sha256: missing; restore .* REPLACE=yes"):
        verified_studies(published.parent)


def test_published_studies_by_name(published: Path, tmp_path: Path) -> None:
    """Only the study asked for is checked, so a damaged one does not stop the others."""
    assert verified_studies(published.parent) == ["tiny"]
    (published.parent / "damaged").mkdir()
    (published.parent / ".tiny-left-by-a-kill").mkdir()
    assert verified_studies(published.parent, "tiny") == ["tiny"]
    with pytest.raises(PublishError, match="damaged/MANIFEST"):
        verified_studies(published.parent)
    with pytest.raises(PublishError, match=r"'tny' is not published \(did you mean 'tiny'"):
        verified_studies(published.parent, "tny")
    with pytest.raises(PublishError, match="nothing is published; run make publish"):
        verified_studies(tmp_path / "nowhere")


def test_git_tracks_what_is_published() -> None:
    paths = ["results/published/tiny/MANIFEST.json", f"results/published/tiny/runs/{RUN}/eval.json"]
    done = subprocess.run(["git", "check-ignore", *paths], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
