"""The rules of the house, as functions from source texts to the list of what breaks them.

A tree is a dictionary from paths below src/undula (with forward slashes) to source texts.
"""

import ast
import re
from collections.abc import Callable, Iterator

Tree = dict[str, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

COMPLEX = {"complex32", "chalf", "complex64", "cfloat", "complex128", "cdouble", "complex", "polar", "view_as_complex"}

# In pieces, so that this file does not name what it forbids.
HOSTS = re.compile(
    "|".join(
        (
            r"pypi\.",
            "python" + "hosted",
            r"registry\.npm",
            r"deb\.deb" + "ian",
            r"anacon" + r"da\.org",
            "download.py" + "torch",
        )
    )
)


def long_files(tree: Tree) -> list[str]:
    """Files over the budget of lines."""
    lines = {path: len(source.splitlines()) for path, source in tree.items()}
    return [f"{path}: {n} lines, at most {MAX_FILE_LINES}" for path, n in lines.items() if n > MAX_FILE_LINES]


def long_functions(tree: Tree) -> list[str]:
    """Functions over the budget of lines, decorators left out."""
    found = []
    for path, function in _all(tree, Function):
        lines = function.end_lineno - function.lineno + 1
        if lines > MAX_FUNCTION_LINES:
            found.append(f"{path}: {function.name} has {lines} lines, at most {MAX_FUNCTION_LINES}")
    return found


def deep_inheritance(tree: Tree) -> list[str]:
    """Classes of ours whose base of ours has a base of ours."""
    bases = {node.name: [_last_name(b) for b in node.bases] for _, node in _all(tree, ast.ClassDef)}
    parents = {name: [b for b in above if b in bases and b != name] for name, above in bases.items()}
    return [f"{name} < {b} < {parents[b][0]}" for name, above in parents.items() for b in above if parents[b]]


def keyword_catchalls(tree: Tree) -> list[str]:
    """Public functions that take **kwargs without need.

    Needed they are by what builds a thing of a given name from its options (build...), by what hands a line's style on
    to matplotlib (plot_...), and in hf/ and training/ by methods that override those of another library.
    """
    found = []
    for path, source in tree.items():
        module = ast.parse(source)
        outside = _imported_from_outside(module)
        for owner, function in _public_functions(module):
            foreign = owner is not None and any(_first_name(b) in outside for b in owner.bases)
            allowed = re.match(r"build(_|$)|plot_", function.name) or (
                foreign and path.startswith(("hf/", "training/"))
            )
            if function.args.kwarg and not allowed:
                found.append(f"{path}: {function.name} takes **{function.args.kwarg.arg}")
    return found


def asserts_and_prints(tree: Tree) -> list[str]:
    """Asserts and prints outside the command line."""
    rest = {path: source for path, source in tree.items() if not path.startswith("cli/")}
    found = [f"{path}:{node.lineno}: assert" for path, node in _all(rest, ast.Assert)]
    calls = [(path, node) for path, node in _all(rest, ast.Call) if _last_name(node.func) == "print"]
    return found + [f"{path}:{node.lineno}: print" for path, node in calls if isinstance(node.func, ast.Name)]


def late_annotations(tree: Tree) -> list[str]:
    """Files that turn annotations into strings, where shapes could not be checked as the code runs."""
    imports = [(path, node) for path, node in _all(tree, ast.ImportFrom) if node.module == "__future__"]
    return [f"{path}: from __future__ import annotations" for path, node in imports if _imports(node, "annotations")]


def complex_parameters(tree: Tree) -> list[str]:
    """Parameters and buffers that are made complex."""
    found = []
    for path, call in _all(tree, ast.Call):
        if _last_name(call.func) in ("Parameter", "register_buffer", "register_parameter", "Buffer"):
            names = {_last_name(node) for argument in [*call.args, *call.keywords] for node in ast.walk(argument)}
            found += [f"{path}:{call.lineno}: {name} in {_last_name(call.func)}" for name in sorted(names & COMPLEX)]
    return found


def stray_transforms(tree: Tree) -> list[str]:
    """Uses of torch.fft outside ops/fft.py."""
    rest = {path: source for path, source in tree.items() if path != "ops/fft.py"}
    found = [(path, node) for path, node in _all(rest, ast.Attribute) if ast.unparse(node) == "torch.fft"]
    for path, node in _all(rest, ast.Import | ast.ImportFrom):
        module = getattr(node, "module", None) or ""
        names = [f"{module}.{alias.name}".lstrip(".") for alias in node.names]
        found += [(path, node) for name in names if f"{name}.".startswith("torch.fft.")]
    return [f"{path}:{node.lineno}: torch.fft" for path, node in found]


def heavy_packages(tree: Tree) -> list[str]:
    """Package files that hold more than a docstring, but for those that name the public things and the mixers."""
    found = []
    for path, source in tree.items():
        if path.endswith("/__init__.py") and path != "mixers/__init__.py":
            body = ast.parse(source).body
            if len(body) != 1 or ast.get_docstring(ast.Module(body, [])) is None:
                found.append(f"{path}: wanted a docstring alone")
    return found


def registry_hosts(tree: Tree) -> list[str]:
    """Lines that name the host of a package registry."""
    lines = [(path, n, line) for path, text in tree.items() for n, line in enumerate(text.splitlines(), 1)]
    return [f"{path}:{n}: {line.strip()}" for path, n, line in lines if HOSTS.search(line)]


SOURCE_RULES: tuple[Callable[[Tree], list[str]], ...] = (
    long_files,
    long_functions,
    deep_inheritance,
    keyword_catchalls,
    asserts_and_prints,
    late_annotations,
    complex_parameters,
    stray_transforms,
    heavy_packages,
)


def _all(tree: Tree, kind: type[ast.AST] | object) -> Iterator[tuple[str, ast.AST]]:
    for path, source in tree.items():
        yield from ((path, node) for node in ast.walk(ast.parse(source)) if isinstance(node, kind))


def _public_functions(module: ast.Module) -> Iterator[tuple[ast.ClassDef | None, Function]]:
    """Functions of the module and methods of its classes that users may call, each with its class."""
    for node in module.body:
        if isinstance(node, Function) and not node.name.startswith("_"):
            yield None, node
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            methods = [inner for inner in node.body if isinstance(inner, Function)]
            yield from ((node, m) for m in methods if m.name == "__init__" or not m.name.startswith("_"))


def _imported_from_outside(module: ast.Module) -> set[str]:
    names = set()
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] != "undula":
            names |= {alias.asname or alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names} - {"undula"}
    return names


def _imports(node: ast.ImportFrom, name: str) -> bool:
    return any(alias.name == name for alias in node.names)


def _last_name(node: ast.AST) -> str:
    """Return Mixer for Mixer, base.Mixer, Mixer[int] and Mixer()."""
    while isinstance(node, ast.Subscript | ast.Call):
        node = node.value if isinstance(node, ast.Subscript) else node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _first_name(node: ast.AST) -> str:
    """Return nn for nn, nn.Module and nn.Module[int]."""
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return getattr(node, "id", "")
