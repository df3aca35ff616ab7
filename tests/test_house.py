"""The house keeps its own rules: budgets of size, imports, words, documents and the command line's frozen flags."""

from __future__ import annotations

import ast
import json
import os
import re
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gemwright"
GOLDEN_FLAGS = ROOT / "tests" / "golden" / "cli_flags.json"

LINES_OF_A_FILE, MEDIAN_OF_FILES, LINES_OF_A_FUNCTION = 400, 160, 60
TABLES: set[str] = set()  # files of the package that are tables of data and may be longer
NO_TORCH = ("errors.py", "runlog.py", "arch", "text", "image", "tasks", "engine/request.py", "engine/schedule.py")
FAMILY_BLIND = ("nn", "ops", "cache", "engine", "train")
FAMILY_NAME = re.compile(r"gemma[_-]?[123]|recurrent_?gemma|griffin|hawk", re.IGNORECASE)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def sources(*parts: str) -> list[Path]:
    """The package's Python files, or those of the named folders and files of it that exist."""
    found: list[Path] = []
    for start in [PACKAGE / part for part in parts] or [PACKAGE]:
        found += sorted(start.rglob("*.py")) if start.is_dir() else [start] if start.is_file() else []
    return found


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


def documents() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def docstring_of(node: ast.AST) -> ast.Constant | None:
    """The string node that documents a module, class or function."""
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    text = first.value if isinstance(first, ast.Expr) else None
    return text if isinstance(text, ast.Constant) and isinstance(text.value, str) else None


def python(code: str, *arguments: str) -> str:
    """What a fresh interpreter prints, run in the root with no network behind huggingface_hub."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=offline())
    assert done.returncode == 0, done.stderr
    return done.stdout


def offline() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "80", "NO_COLOR": "1"}


# ----------------------------------------------------------------------------------------------------------------------
# Sizes


def test_files_stay_short() -> None:
    lengths = {relative(path): len(path.read_text("utf-8").splitlines()) for path in sources()}
    assert not TABLES - lengths.keys(), "an exception names a file that is gone"
    long = {path: length for path, length in lengths.items() if length >= LINES_OF_A_FILE and path not in TABLES}
    assert not long, f"under {LINES_OF_A_FILE} lines: a file that needs the word 'and' is two files"
    assert statistics.median(lengths.values()) < MEDIAN_OF_FILES


def test_functions_stay_short() -> None:
    long = []
    for path in sources():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                text = docstring_of(node)
                documented = (text.end_lineno or 0) - text.lineno + 1 if text else 0
                length = (node.end_lineno or 0) - node.lineno + 1 - documented
                if length >= LINES_OF_A_FUNCTION:
                    long.append(f"{relative(path)}:{node.lineno} {node.name}: {length} lines")
    assert not long, f"under {LINES_OF_A_FUNCTION} lines, docstrings not counted"


# ----------------------------------------------------------------------------------------------------------------------
# Imports


@pytest.mark.parametrize("entry", ["import gemwright", "gemwright --help"])
def test_a_light_touch_imports_no_torch(entry: str) -> None:
    code = "import gemwright" if entry == "import gemwright" else "from gemwright.cli.main import main; main()"
    report = "heavy = {'torch', 'numpy', 'transformers'} & set(sys.modules); print('heavy:', sorted(heavy))"
    printed = python(
        f"import sys\ntry:\n    {code}\nexcept SystemExit as end:\n    assert not end.code\n{report}", "--help"
    )
    assert printed.splitlines()[-1] == "heavy: []"


def test_the_floors_without_torch_import_none() -> None:
    modules = [relative(path).removesuffix(".py").replace("/", ".") for path in sources(*NO_TORCH)]
    modules = [name.removesuffix(".__init__") for name in modules]
    assert "gemwright.arch" in modules
    code = (
        "import sys, importlib\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(name)\n"
        "    print(name, 'torch' in sys.modules)"
    )
    loaded = [line.split()[0] for line in python(code, *modules).splitlines() if line.endswith("True")]
    assert not loaded, f"{loaded[0]} brought torch in"


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names that a file imports when it runs, with their lines; not those for the type checker alone."""
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def normalised(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s<>=!~;\[]", requirement, maxsplit=1)[0]).lower()


def test_what_the_package_imports_it_declares() -> None:
    """What an extra brings is imported inside functions, so that a plain installation runs without it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    declared = {normalised(requirement) for requirement in project["dependencies"]}
    extras = [group for name, group in project["optional-dependencies"].items() if name != "dev"]
    optional = {normalised(requirement) for group in extras for requirement in group}
    owners = packages_distributions()
    missing = []
    for path in sources():
        lines = path.read_text("utf-8").splitlines()
        for name, line in imports(path):
            top = name.split(".")[0]
            if top in sys.stdlib_module_names or top == "gemwright":
                continue
            allowed = declared | optional if lines[line - 1].startswith(" ") else declared
            if not allowed & {normalised(owner) for owner in owners.get(top, [])}:
                missing.append(f"{relative(path)}:{line} imports {top}")
    assert not missing


def test_torch_distributed_stays_in_parallel() -> None:
    found = []
    for path in set(sources()) - set(sources("parallel")):
        found += [f"{relative(path)}:{line}" for name, line in imports(path) if name.startswith("torch.distributed")]
        found += [
            f"{relative(path)}:{node.lineno}"
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.distributed"
        ]
    assert not found


def test_a_package_says_what_it_is_and_imports_nothing() -> None:
    for folder in sorted({path.parent for path in sources()}):
        start = folder / "__init__.py"
        assert start.is_file(), f"{relative(folder)} has no __init__.py"
        assert docstring_of(tree(start)), f"{relative(start)} does not say what the folder is"
        if folder != PACKAGE:
            assert not [name for name, _ in imports(start) if not name.startswith("__future__")], relative(start)


def test_no_module_hides_a_name_of_the_public_face() -> None:
    face = import_module("gemwright").__all__
    assert not [name for name in face if (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()]


# ----------------------------------------------------------------------------------------------------------------------
# Words


def words(path: Path) -> Iterator[tuple[str, int]]:
    """Identifiers and strings of a file, docstrings left out."""
    spoken = {id(docstring_of(node)) for node in ast.walk(tree(path))}
    for node in ast.walk(tree(path)):
        line = getattr(node, "lineno", 0)
        for field in ("id", "attr", "name", "arg", "asname", "module"):
            if isinstance(word := getattr(node, field, None), str):
                yield word, line
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in spoken:
            yield node.value, line


def test_the_machinery_knows_no_family_by_name() -> None:
    found = [
        f"{relative(path)}:{line} {word!r}"
        for path in sources(*FAMILY_BLIND)
        for word, line in words(path)
        if FAMILY_NAME.search(word)
    ]
    assert not found, "a family is a file in arch: the spec states what differs"


def test_the_environment_is_read_in_cli_and_parallel_only() -> None:
    readers = re.compile(r"\bos\.(environb?|getenvb?|putenv)\b")
    found = []
    for path in set(sources()) - set(sources("cli", "parallel")):
        found += [f"{relative(path)}:{line}" for name, line in imports(path) if readers.fullmatch(name)]
        attributes = (node for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute))
        found += [f"{relative(path)}:{node.lineno}" for node in attributes if readers.fullmatch(ast.unparse(node))]
    assert not found


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(
        r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|\bplace" r"holder\b|raise NotImplemented" r"Error|lorem " r"ipsum"
    )
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py"), *documents()]
    files += [ROOT / name for name in ("Makefile", "pyproject.toml", ".ci/run", ".pre-commit-config.yaml")]
    found = [
        f"{relative(path)}:{number} {match[0]}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1)
        if (match := marks.search(line))
    ]
    assert not found


def test_unit_tests_mirror_the_package() -> None:
    folders = [folder for folder in (ROOT / "tests" / "unit").iterdir() if any(folder.glob("test_*.py"))]
    stray = [folder.name for folder in folders if not sources(folder.name, f"{folder.name}.py")]
    assert not stray


# ----------------------------------------------------------------------------------------------------------------------
# Documents


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in documents():
        for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
            file = target.split("#")[0]
            if file and not re.match(r"[a-z]+:", file) and not (path.parent / file).exists():
                broken.append(f"{relative(path)} → {target}")
    assert not broken


def test_files_and_tests_that_documents_mention_exist() -> None:
    missing = []
    for path in documents():
        if path.name in ("CHANGELOG.md", "log.md"):  # history may name what is gone
            continue
        mentions = re.findall(r"`((?:gemwright|tests|docs)/[\w./-]*)(?:::(\w+))?`", path.read_text("utf-8"))
        for file, test in mentions:
            if not (ROOT / file).exists() or (test and f"def {test}(" not in (ROOT / file).read_text("utf-8")):
                missing.append(f"{relative(path)}: {file}{'::' if test else ''}{test}")
    assert not missing


def test_the_floors_in_the_docs_are_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    built = [" | ".join(name for name in layer.split(" | ") if not name.startswith("(")) for layer in layers]
    drawn = re.search(r"```floors\n(.*?)```", (ROOT / "docs" / "architecture.md").read_text("utf-8"), re.DOTALL)
    assert drawn, "docs/architecture.md has no ```floors block"
    assert [line.split("  ")[0] for line in drawn[1].splitlines()] == [layer for layer in built if layer]


def fenced(kind: str) -> list[list[str]]:
    """The lines of each fenced block of the README whose fence names this kind."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)
    return [block.replace("\\\n", " ").splitlines() for block in blocks]


def test_the_readmes_tree_is_the_tree() -> None:
    trees = [block for block in fenced(r"\w*") if block and block[0].split()[0] == "gemwright/"]
    assert len(trees) == 1, "README.md needs one fenced block that starts with gemwright/ and lists its folders"
    root, listed = "", set()
    for line in filter(str.strip, trees[0]):
        indent, entry = re.match(r"^([\s│├└─]*)(\S+)", line).groups()  # type: ignore[union-attr]
        if not indent:
            root = entry
        path = ROOT / root / (entry if indent else "")
        assert path.exists(), f"README's tree lists {path.relative_to(ROOT)}, which does not exist"
        listed.add(path)
    folders = {path.parent for path in sources() if path.parent.parent == PACKAGE}
    assert not [relative(folder) for folder in sorted(folders - listed)], "folders that README's tree leaves out"


# ----------------------------------------------------------------------------------------------------------------------
# The command line


@cache
def commands() -> dict[str, Any]:
    """Every command by its full name ("", "generate", "tokenizer train", …) as Typer built it."""
    import typer

    found: dict[str, Any] = {}

    def walk(command: Any, name: str) -> None:
        found[name] = command
        for child, below in getattr(command, "commands", {}).items():
            walk(below, f"{name} {child}".strip())

    walk(typer.main.get_command(import_module("gemwright.cli.main").app), "")
    return found


def flags(command: Any) -> list[str]:
    """What a script may rely on, one line per parameter: its names, whether a value follows, how often it may come."""
    lines = []
    for parameter in command.params:
        if parameter.name in ("install_completion", "show_completion"):  # Typer's own
            continue
        if parameter.param_type_name == "argument":
            kind, names, many = "argument", [parameter.name], parameter.nargs == -1
        else:
            kind = "flag" if parameter.is_flag else "option"
            names, many = [*parameter.opts, *parameter.secondary_opts], parameter.multiple
        words = [kind, "/".join(names), "required" if parameter.required else "", "repeated" if many else ""]
        lines.append(" ".join(filter(None, words)))
    return sorted(lines)


def test_the_flags_are_frozen() -> None:
    now = {f"gemwright {name}".strip(): flags(command) for name, command in sorted(commands().items())}
    if os.environ.get("GEMWRIGHT_UPDATE_GOLDEN"):
        GOLDEN_FLAGS.parent.mkdir(exist_ok=True)
        GOLDEN_FLAGS.write_text(json.dumps(now, indent=2) + "\n", "utf-8")
    frozen = json.loads(GOLDEN_FLAGS.read_text("utf-8")) if GOLDEN_FLAGS.exists() else {}
    have = {f"{command}: {line}" for command, lines in now.items() for line in ["exists", *lines]}
    had = {f"{command}: {line}" for command, lines in frozen.items() for line in ["exists", *lines]}
    changes = sorted(f"+ {line}" for line in have - had) + sorted(f"- {line}" for line in had - have)
    again = "If scripts may break like this: GEMWRIGHT_UPDATE_GOLDEN=1 make test TESTS=tests/test_house.py"
    assert not changes, "\n".join(["the flags changed.", *changes, again])
