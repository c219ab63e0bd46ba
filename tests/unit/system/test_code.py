"""What changes the digest of source code, and what does not."""

from pathlib import Path

import pytest

from sft_tradeoff.system.code import code_digest, imported

MODULE = '''"""Docstring."""

import os


class A:
    """Docstring."""

    size = 1


def f(x):
    """Docstring."""
    return x + A.size  # comment
'''


@pytest.fixture
def package(tmp_path):
    (tmp_path / "wing").mkdir()
    (tmp_path / "wing/module.py").write_text(MODULE)
    return tmp_path


def changed(package, old, new):
    """Whether a replacement in the module changes the digest."""
    module = package / "wing/module.py"
    before = code_digest("wing", root=package)
    assert old in module.read_text()
    module.write_text(module.read_text().replace(old, new))
    return code_digest("wing", root=package) != before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Docstring.", "Other words."),
        ("# comment", "# other"),
        ('"""Docstring."""\n\nimport', "import"),
        ("x + A.size", "(x + A.size)"),
        ("\n\n\ndef", "\n\n\n\n\ndef"),
    ],
)
def test_documentation_and_formatting_do_not_matter(package, old, new):
    assert not changed(package, old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size = 1", "size = 2"),
        ("size = 1", "size = 1.0"),
        ("size = 1", "size = True"),
        ("size = 1", "size = None"),
        ("+ A", "- A"),
        ("def f", "def g"),
        ("def f", "async def f"),
        ("(x)", "(x=None)"),
        ("import os", "import os as o"),
        ("    size", "    'no docstring'\n    'a statement'\n    size"),
    ],
)
def test_code_matters(package, old, new):
    assert changed(package, old, new)


def test_names_and_new_modules_matter_and_times_do_not(package):
    found = {code_digest("wing", root=package)}
    (package / "wing/module.py").touch()
    assert {code_digest("wing", root=package)} == found
    (package / "wing/module.py").rename(package / "wing/other.py")
    found.add(code_digest("wing", root=package))
    (package / "wing/below").mkdir()
    (package / "wing/below/__init__.py").touch()
    found.add(code_digest("wing", root=package))
    assert len(found) == 3


def test_patterns_choose_modules_and_one_without_any_is_refused(package):
    whole = code_digest("wing", root=package)
    assert code_digest("wing/*.py", root=package) == whole
    assert code_digest("wing/m*.py", "wing/module.py", root=package) == whole
    (package / "wing/data.json").touch()
    assert code_digest("wing", root=package) == whole
    with pytest.raises(FileNotFoundError, match="no Python module matches"):
        code_digest("wing", "wings", root=package)


def test_the_projects_own_modules_are_found_from_its_folder():
    assert len(code_digest("stats")) == 16 and Path("src").is_dir()


def test_what_a_module_imports_is_followed_within_the_wings(tmp_path):
    """Through functions and packages, but not for type checkers and not outside."""
    root = tmp_path / "package"
    files = {
        "a/start.py": "from package.a.near import f\nfrom package.b import far\nimport os\n",
        "a/near.py": "def f():\n    from package.a import lazy\n    return lazy\n",
        "a/lazy.py": "if TYPE_CHECKING:\n    import package.a.types\n",
        "a/types.py": "",
        "a/alone.py": "",
        "b/far.py": "import package.a.alone\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert imported("a.start", "a/", root=root) == {"a/start.py", "a/near.py", "a/lazy.py"}
    both = {"a/start.py", "a/near.py", "a/lazy.py", "b/far.py", "a/alone.py"}
    assert imported("a.start", "a/", "b/", root=root) == both
