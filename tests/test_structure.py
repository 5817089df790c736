"""Rules of the design that no other test would notice."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import localmatch

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "localmatch"
STAGES = ["patches", "descriptor.encode", "neighbours", "matching", "votes"]
STAGES += ["alignments", "verification", "heatmap", "regions"]


def imports(module: str) -> set[str]:
    tree = ast.parse((SOURCE / f"{module.replace('.', '/')}.py").read_text())
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.removeprefix("localmatch.") for name in found}


def test_stages_never_import_later_ones() -> None:
    for position, stage in enumerate(STAGES):
        assert not imports(stage) & {*STAGES[position + 1 :], "audit", "api", "overlay", "cli"}, stage


def test_import_is_quiet_and_changes_nothing() -> None:
    code = (
        "import torch; before = torch.get_num_threads(), torch.is_grad_enabled(), torch.initial_seed();"
        "import localmatch; assert before == (torch.get_num_threads(), torch.is_grad_enabled(), torch.initial_seed())"
    )
    done = subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_are_documented() -> None:
    for name in localmatch.__all__:
        assert name == "__version__" or getattr(localmatch, name).__doc__


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda p: str(p.relative_to(SOURCE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 75, node.name


def test_readme_s_python_is_the_public_api() -> None:
    snippet = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert snippet
    tree = ast.parse(snippet[1])
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    public = {a for c in (localmatch.Index, localmatch.Audit, localmatch.Region) for a in (*dir(c), *c.__annotations__)}
    assert used - {"Index"} <= public | {"save", "stem"}


def test_version_is_in_the_changelog() -> None:
    assert f"## {localmatch.__version__}" in (ROOT / "CHANGELOG.md").read_text()
