from sft_tradeoff.domains.own.problems import group_by_problem, with_example


def test_one_problem_of_many_lines_is_one_sentence():
    many = [(number, "it is empty") for number in range(5, 135)]

    sentences = group_by_problem([(3, "no prompt"), *many, (200, "no prompt"), (3, "no prompt")])

    assert sentences == [
        "lines 3, 200: no prompt",
        "lines 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, and 120 more: it is empty",
    ]


def test_a_problem_of_one_line_names_one_line():
    assert group_by_problem([(7, "no prompt")]) == ["line 7: no prompt"]
    assert group_by_problem([(7, "no prompt"), (9, "no prompt")], "row") == ["rows 7, 9: no prompt"]
    assert group_by_problem([]) == []


def test_lines_with_one_problem_share_its_first_example():
    found = [
        (3, "too long ({}); cut", "9"),
        (4, "empty ({})", "{}"),
        (5, "too long ({}); cut", "7"),
    ]
    assert group_by_problem(with_example(found, "row"), "row") == [
        "rows 3, 5: too long (row 3: 9); cut",
        "row 4: empty (row 4: {})",
    ]
