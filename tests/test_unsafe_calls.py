"""No code of the product runs text, or reads a file that could run code, but where it is named."""

import ast
from pathlib import Path

import pytest
import yaml

from qsit_ray.config import files

ROOT = Path(__file__).parents[1]
PICKLES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
RUNS = {"eval", "exec", "compile", "__import__"}
SHELLS = {"os.system", "os.popen"}
READS = {
    *("pandas.read_pickle", "pd.read_pickle", "yaml.unsafe_load", "yaml.full_load"),
    *("yaml.unsafe_load_all", "yaml.full_load_all", "torch.hub.load", "torch.jit.load"),
}
# Libraries that unpickle within a call: Tune its own state, DeepSpeed its checkpoints.
UNPICKLING = {"load_checkpoint", "Tuner.restore", "Trainer.restore", "ExperimentAnalysis"}
# (file, what is called): why it may be there.
ALLOWED = {
    ("qsit_ray/config/files.py", "yaml.load"): "_Loader is a SafeLoader; see below",
    (
        "qsit_ray/search/tuner.py",
        "Tuner.restore",
    ): "Tune's state, in the run's folder or storage",
    ("qsit_ray/train/engine.py", "load_checkpoint"): "checkpoints of the run's own training",
    ("qsit_ray/train/elastic.py", "ds_to_universal"): "checkpoints of the run's own training",
}


def dotted(node):
    """`a.b.c` of a name or an attribute of names; "" of another expression."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else f".{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def given(call, name):
    """The source of a keyword's value; "" where it is not given."""
    return next((ast.unparse(each.value) for each in call.keywords if each.arg == name), "")


def unsafe_calls(source):
    """What a module calls or imports that may run what it reads."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [each.name for each in node.names]
            if isinstance(node, ast.ImportFrom):
                names = [node.module or "", *(f"{node.module}.{name}" for name in names)]
            yield from (name for name in names if name.partition(".")[0] in PICKLES)
            yield from (name for name in names if name in READS | SHELLS)
        if isinstance(node, ast.Constant) and node.value == "deepspeed.checkpoint.ds_to_universal":
            yield "ds_to_universal"
        if not isinstance(node, ast.Call):
            continue
        name = dotted(node.func)
        last = name.rpartition(".")[2]
        if name in RUNS | SHELLS | READS:
            yield name
        yield from (each for each in UNPICKLING if f".{name}".endswith(f".{each}"))
        if name in {"yaml.load", "yaml.load_all"}:
            loader = ast.unparse(node.args[1]) if len(node.args) > 1 else given(node, "Loader")
            if loader not in {"yaml.SafeLoader", "yaml.CSafeLoader"}:
                yield name
        if name == "torch.load" and given(node, "weights_only") != "True":
            yield name
        if last == "load" and given(node, "allow_pickle") not in {"", "False"}:
            yield "allow_pickle"
        if given(node, "trust_remote_code") not in {"", "False"}:
            yield "trust_remote_code"
        if given(node, "shell") not in {"", "False"}:
            yield "shell"


def found():
    paths = [
        path for folder in ("qsit_ray", "evaluation") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    assert len(paths) > 150
    for path in sorted(paths):
        for what in unsafe_calls(path.read_text()):
            yield path.relative_to(ROOT).as_posix(), what


def test_only_what_is_named_may_run_what_it_reads():
    assert set(found()) == ALLOWED.keys()


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("eval('1')", "eval"),
        ("exec(text)", "exec"),
        ("import pickle", "pickle"),
        ("from cloudpickle import loads", "cloudpickle"),
        ("from pickle import load", "pickle.load"),
        ("import os\nos.system('ls')", "os.system"),
        ("from os import system", "os.system"),
        ("yaml.load(text, yaml.Loader)", "yaml.load"),
        ("yaml.load(text)", "yaml.load"),
        ("yaml.unsafe_load(text)", "yaml.unsafe_load"),
        ("torch.load(path)", "torch.load"),
        ("torch.load(path, weights_only=False)", "torch.load"),
        ("np.load(path, allow_pickle=True)", "allow_pickle"),
        ("pd.read_pickle(path)", "pd.read_pickle"),
        ("AutoModel.from_pretrained(name, trust_remote_code=True)", "trust_remote_code"),
        ("subprocess.run(text, shell=True)", "shell"),
        ("self.deepspeed.load_checkpoint(folder)", "load_checkpoint"),
        ("tune.Tuner.restore(folder)", "Tuner.restore"),
    ],
)
def test_a_planted_call_is_found(source, what):
    assert what in set(unsafe_calls(source))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "yaml.safe_load(text)",
        "yaml.load(text, yaml.CSafeLoader)",
        "torch.load(path, weights_only=True)",
        "np.load(path, mmap_mode='r')",
        "re.compile(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=False)",
    ],
)
def test_a_safe_call_is_not(source):
    assert not set(unsafe_calls(source))


def test_yaml_of_a_configuration_makes_no_objects(tmp_path):
    assert issubclass(files._Loader, yaml.SafeLoader)
    file = tmp_path / "a.yaml"
    file.write_text(f"!!python/object/apply:pathlib.Path.touch [!!python/name:x '{tmp_path}/b']\n")
    with pytest.raises(files.InputError, match=r"a\.yaml: not YAML"):
        files.read_yaml(file)
    assert not (tmp_path / "b").exists()
