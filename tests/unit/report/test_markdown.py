"""Layout of Markdown tables."""

from sft_tradeoff.report.markdown import markdown_table


def test_cells_are_padded_and_kept_as_they_are() -> None:
    """Numbers are text: 1e-5 and 0.500 are not reformatted."""
    rows = [["sft", "1e-5", "0.500"], ["−", "", "θ₀"]]
    assert markdown_table(["Method", "Rate", "Δ"], rows, n_left=2).splitlines() == [
        "| Method   | Rate   |     Δ |",
        "|:---------|:-------|------:|",
        "| sft      | 1e-5   | 0.500 |",
        "| −        |        |    θ₀ |",
    ]


def test_a_short_row_ends_in_empty_cells() -> None:
    assert markdown_table(["Long", "B"], [["a"]]).splitlines()[-1] == "| a      |     |"
