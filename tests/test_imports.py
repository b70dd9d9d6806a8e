"""The import rules: each module is what the first word of its docstring says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*ROOT.glob("qsit_ray/**/*.py"), *ROOT.glob("evaluation/**/*.py")])
HEAVY = {"ray", "torch", "deepspeed", "transformers"}
FORBIDDEN = {"pure": HEAVY, "torch": {"ray"}, "rim": set()}


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def kind_of(path):
    return (ast.get_docstring(ast.parse(path.read_text())) or "").split(":")[0]


def imports_of(path, everywhere):
    """Modules that a file imports; without `everywhere` only those imported at its top."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if everywhere else tree.body
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_docstring_names_the_kind_and_the_imports_keep_to_it(path):
    kind = kind_of(path)
    assert kind in FORBIDDEN, f"{name_of(path)}: its docstring must begin with pure, torch or rim"
    roots = {module.split(".")[0] for module in imports_of(path, everywhere=False)}
    assert not roots & FORBIDDEN[kind]
    if kind == "pure":
        everywhere = {module.split(".")[0] for module in imports_of(path, everywhere=True)}
        assert "ray" not in everywhere


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_modules_import_downwards_only(path):
    kinds = {name_of(module): kind_of(module) for module in MODULES}
    imported = imports_of(path, everywhere=False) & set(kinds)
    if name_of(path) != "qsit_ray.cli":
        assert "qsit_ray.cli" not in imported
    below = {"pure": {"pure"}, "torch": {"pure", "torch"}, "rim": {"pure", "torch", "rim"}}
    assert {kinds[module] for module in imported} <= below[kind_of(path)]


def test_help_and_presets_load_neither_ray_nor_torch():
    code = (
        "import sys; from qsit_ray import cli, presets, fit; presets.demo(); "
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
