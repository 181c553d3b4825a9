"""The house rules of imports, read from the source: one direction, no cycles, no hidden doors."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "linegroup"

# The data's way through the house, first to last. A module may import its own storey and those below.
STOREYS = [
    ["errors", "compiling", "environment", "memory", "unions"],
    ["files", "locking", "config", "interrupts", "picture_files"],
    ["sample", "masks", "wire"],
    ["geometry", "images"],
    ["sources", "targets", "testing"],
    ["shards", "manifest", "augment", "plans", "batches"],
    ["backbones", "losses", "heads", "views"],
    ["model"],
    ["grouping"],
    ["vectors", "metrics", "pictures"],
    ["training"],
    ["predict", "evaluation"],
    ["serving"],
    ["comparison", "gate", "promotion"],
    ["tuning"],
    ["distributed"],
    ["cli"],
]
STOREY = {part: level for level, parts in enumerate(STOREYS) for part in parts}

RAY_ONLY_IN = ("distributed",)
MLFLOW_ONLY_IN = ("training/mlflow_access.py", "training/tracking.py", "training/registry.py", "training/downloads.py")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path: Path, tree: ast.AST) -> list[tuple[str, ast.stmt]]:
    found: list[tuple[str, ast.stmt]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            found += [(f"{node.module}.{alias.name}", node) for alias in node.names]
    return found


def known_module(dotted: str, names: set[str]) -> str | None:
    """The longest prefix of a dotted import that is a module of ours."""
    while dotted:
        if dotted in names:
            return dotted
        dotted = dotted.rpartition(".")[0]
    return None


def edges() -> list[tuple[str, str, str]]:
    names = {name_of(path) for path in modules()}
    found = []
    for path in modules():
        tree = ast.parse(path.read_text())
        for dotted, node in imported(path, tree):
            target = known_module(dotted, names) if dotted.startswith("linegroup") else None
            if target:
                found.append((name_of(path), target, f"{path.relative_to(PACKAGE.parent)}:{node.lineno}"))
    return found


def storey(module: str) -> int:
    part = module.split(".")[1] if "." in module else "errors"
    assert part in STOREY, f"{module} has no place in the house: add {part!r} to STOREYS"
    return STOREY[part]


def test_every_module_has_a_storey():
    for path in modules():
        storey(name_of(path))


def test_imports_go_down_the_house():
    wrong = [
        f"{where}: {source} imports {target}" for source, target, where in edges() if storey(source) < storey(target)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cycles():
    graph: dict[str, set[str]] = {}
    for source, target, _ in edges():
        if source != target:
            graph.setdefault(source, set()).add(target)
    assert list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize(("library", "allowed"), [("ray", RAY_ONLY_IN), ("mlflow", MLFLOW_ONLY_IN)])
def test_library_stays_in_its_room(library, allowed):
    wrong = [
        f"{path}:{node.lineno}"
        for path in modules()
        for dotted, node in imported(path, ast.parse(path.read_text()))
        if dotted.split(".")[0] == library and not str(path.relative_to(PACKAGE)).startswith(allowed)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_own_imports_inside_functions():
    """Only the command line may import late, so that `--help` is quick."""
    wrong = []
    for path in modules():
        if path.relative_to(PACKAGE).parts[0].startswith("cli"):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                wrong += [
                    f"{path}:{node.lineno}: {dotted}"
                    for dotted, node in imported(path, function)
                    if dotted.startswith("linegroup")
                ]
    assert not wrong, "\n".join(wrong)


def test_scripts_import_the_package_and_no_sibling():
    root = PACKAGE.parent
    for folder in ("jobs", "serve", "tune"):
        siblings = {path.stem for path in (root / folder).glob("*.py")}
        for path in (root / folder).glob("*.py"):
            for dotted, node in imported(path, ast.parse(path.read_text())):
                assert dotted.split(".")[0] not in siblings | {"jobs", "serve", "tune"}, f"{path}:{node.lineno}"


def test_importing_is_light():
    script = "import linegroup, sys; print([m for m in ('torch', 'ray', 'mlflow', 'numba', 'cv2') if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_reading_a_model_does_without_torchs_compiler():
    """It takes longer to load than all the rest of the model."""
    script = (
        "import sys; from linegroup.predict import Predictor; Predictor.load('pretrained');"
        "print([m for m in ('torch._dynamo', 'sympy') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("path", sorted((PACKAGE.parent / "jobs").glob("*.py")), ids=lambda path: path.name)
def test_a_job_fits_a_screen(path):
    """Entry points parse, call the library and print one line; what is more belongs into the library."""
    assert len(path.read_text().splitlines()) <= 60


def test_workers_that_shard_do_without_torch():
    """Each worker of Ray loads what its tasks are defined in."""
    script = "import linegroup.distributed.data, sys; print([m for m in ('torch', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
