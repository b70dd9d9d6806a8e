"""The import rules: each module is what the first word of its docstring says."""

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("qsit_ray", "evaluation", "benchmarks")
MODULES = sorted(path for package in PACKAGES for path in ROOT.glob(f"{package}/**/*.py"))
HEAVY = {"ray", "torch", "deepspeed", "transformers"}
FORBIDDEN = {"pure": HEAVY, "torch": {"ray"}, "rim": set()}


def name_of(path):
    """Of evaluation/ by its link in qsit_ray/."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("qsit_ray", *parts) if parts[0] == "evaluation" else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def tree_of(path):
    return ast.parse(path.read_text())


def kind_of(path):
    return (ast.get_docstring(tree_of(path)) or "").split(":")[0]


@cache
def imports_of(path, everywhere):
    """Modules that a file imports; without `everywhere` only those imported at its top."""
    tree = tree_of(path)
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
def test_pure_and_torch_modules_import_no_rim_module(path):
    kinds = {name_of(module): kind_of(module) for module in MODULES}
    imported = imports_of(path, everywhere=False) & set(kinds)
    below = {"pure": {"pure"}, "torch": {"pure", "torch"}, "rim": {"pure", "torch", "rim"}}
    assert {kinds[module] for module in imported} <= below[kind_of(path)]


# The house, ground floor first. A module may import from its own floor and from those below.
FLOORS = [
    ["qsit_ray"],  # config and the modules that lie in no folder
    ["qsit_ray.data", "qsit_ray.surrogate"],
    ["qsit_ray.models"],
    ["qsit_ray.rating"],
    ["qsit_ray.service"],
    [
        "qsit_ray.demo",
        "qsit_ray.report",
        "qsit_ray.train",
        "qsit_ray.search",
        "qsit_ray.evaluation",
    ],
    ["qsit_ray.stages"],
    ["qsit_ray.ablation", "qsit_ray.fork", "qsit_ray.pipeline", "qsit_ray.run_config"],
    ["qsit_ray.cli", "qsit_ray.evaluation.studies"],
    ["benchmarks"],
]
# What may import the demo: everything that users run must do without it.
DEMO_GUESTS = (
    "qsit_ray.ablation",
    "qsit_ray.demo",
    "qsit_ray.stages",
    "qsit_ray.evaluation.studies",
    "benchmarks",
)


def floor_of(module):
    """The floor of the longest prefix."""
    found = [
        (len(prefix), number)
        for number, floor in enumerate(FLOORS)
        for prefix in floor
        if f"{module}.".startswith(f"{prefix}.")
    ]
    return max(found)[1]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_upward(path):
    """Imports inside functions count as well."""
    name = name_of(path)
    imported = imports_of(path, everywhere=True) & {name_of(module) for module in MODULES}
    above = sorted(module for module in imported if floor_of(module) > floor_of(name))
    assert not above, f"{name} imports {above} from a floor above its own"
    if not name.startswith(DEMO_GUESTS):
        assert not [module for module in imported if f"{module}.".startswith("qsit_ray.demo.")]


def test_modules_import_each_other_in_no_circle():
    known = {name_of(path): path for path in MODULES}
    graph = {
        name: {m for m in imports_of(path, everywhere=True) if m in known and m != name}
        for name, path in known.items()
    }
    while free := [name for name, below in graph.items() if not below & set(graph)]:
        for name in free:
            del graph[name]
    assert not graph, f"in or above a circle: {sorted(graph)}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_the_wheels_one_name_is_imported(path):
    """The wheel has evaluation/ and search_spaces/ within qsit_ray/ alone."""
    roots = {module.split(".")[0] for module in imports_of(path, everywhere=True)}
    assert not roots & {"evaluation", "search_spaces", "tests"}


def test_help_and_presets_load_neither_ray_nor_torch():
    code = (
        "import sys; from qsit_ray.cli import app; from qsit_ray.config import presets; "
        "from qsit_ray.stages import fit; presets.demo(); "
        f"print(sorted({HEAVY!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
