"""The shape of the package: who may import whom, and what every file owes its reader."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import polevpn_trio
from polevpn_trio.kernels import COMPILED, EDGES, KERNELS

PACKAGE = Path(polevpn_trio.__file__).parent
ROOT = PACKAGE.parent

# Imports point upwards in this list, or sideways as long as no circle arises.
LAYERS = (
    {"__init__", "errors", "batch", "stream_buffer", "raw_copy", "coroutines", "kernels"},
    {"manual", "completion"},
    {"frames", "fec", "kcp", "forwarding"},
    {"tun", "transport", "control"},
    {"nursery_tree", "site", "management", "dashboard", "site_peer", "uplink", "access"},
    {"privileges", "doctor"},
    {"gateway_login", "hand_over", "router_statistics"},
    {"gateway", "hub", "listeners", "router"},
    {"lab", "commands"},
    {"__main__", "container"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}

SANS_IO_PARTS = {"frames", "fec", "kcp", "forwarding"}
IO_MODULES = {"asyncio", "OpenSSL", "pyroute2", "pytun", "select", "socket", "ssl", "time", "trio"}

# Types without a kernel: C functions, which kernels call.
C_LIBRARIES = {
    "polevpn_trio.fec.gf256_loops",
    "polevpn_trio.raw_copy",
    "polevpn_trio.transport.libcrypto",
    "polevpn_trio.transport.masking",
}

LONGEST_FILE = 700
DRAWERS = {"common", "helper", "helpers", "misc", "util", "utils"}


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(file): file for file in sorted(PACKAGE.rglob("*.py"))}
OWN_FILES = sorted(
    file
    for folder in ("polevpn_trio", "tests", "bench")
    for kind in ("*.py", "*.pxd")
    for file in (ROOT / folder).rglob(kind)
)


def part_of(module: str) -> str:
    """Give the folder, or file, right below the package that a module belongs to."""
    _, _, rest = module.partition(".")
    return rest.partition(".")[0] or "__init__"


def imports(module: str) -> Iterator[str]:
    """Give the modules that a module names in its import statements, wherever they stand."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(level=0, module=str(origin)):
                for alias in node.names:
                    submodule = f"{origin}.{alias.name}"
                    yield submodule if submodule in MODULES else origin
            case ast.ImportFrom():
                pytest.fail(f"{module}, line {node.lineno}: relative import")


def reachable(module: str) -> dict[str, str]:
    """Give every module that one pulls in through this package, with who names it."""
    found = {module: module}
    to_visit = [module]
    while to_visit:
        importer = to_visit.pop()
        for name in imports(importer):
            if name not in found:
                found[name] = importer
                if name in MODULES:
                    to_visit.append(name)
    return found


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_one_way(module: str) -> None:
    for name in imports(module):
        if name in MODULES:
            assert RANK[part_of(name)] <= RANK[part_of(module)], f"{module} imports {name}"


def test_the_parts_depend_on_each_other_without_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        part = part_of(module)
        needed = {part_of(name) for name in imports(module) if name in MODULES}
        graph.setdefault(part, set()).update(needed - {part})
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize(
    "module", [name for name in MODULES if part_of(name) in SANS_IO_PARTS or name in KERNELS]
)
def test_sans_io_modules_reach_no_io(module: str) -> None:
    for name, importer in reachable(module).items():
        assert name.partition(".")[0] not in IO_MODULES, f"{importer} imports {name}"


LOUD = {"warning", "error", "critical", "exception"}
LOGGERS = {"log", "_log", "logger", "its"}


@pytest.mark.parametrize("module", MODULES)
def test_a_warning_in_the_log_says_what_to_do(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Call(func=ast.Attribute(attr=kind, value=logger)) if kind in LOUD:
                if getattr(logger, "attr", getattr(logger, "id", "")) in LOGGERS:
                    assert "advice" in {each.arg for each in node.keywords}, (
                        f"{module}, line {node.lineno}"
                    )


@pytest.mark.parametrize("module", [name for name in MODULES if part_of(name) != "lab"])
def test_what_a_machine_refuses_comes_with_what_to_do(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.Call(func=ast.Name(id="HostError"), keywords=given):
                assert "advice" in {each.arg for each in given}, f"{module}, line {node.lineno}"


@pytest.mark.parametrize("module", COMPILED)
def test_what_is_compiled_has_its_types_beside_it(module: str) -> None:
    assert module in MODULES
    assert MODULES[module].with_suffix(".pxd").exists()
    assert "cython" not in {name.partition(".")[0] for name in imports(module)}


@pytest.mark.parametrize("module", EDGES)
def test_async_functions_of_what_is_compiled_give_coroutines_of_python(module: str) -> None:
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        match node:
            case ast.AsyncFunctionDef(body=[ast.Expr(value=ast.Constant(value=value))]) if (
                value is Ellipsis
            ):
                # A protocol's, which nobody calls.
                pass
            case ast.AsyncFunctionDef(decorator_list=decorators):
                names = [ast.unparse(each) for each in decorators]
                assert "of_python" in names, f"{module}, line {node.lineno}"


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_has_no_quotient_of_whole_numbers_among_its_constants(kernel: str) -> None:
    """Compiled, ``SHARE = 1 / 8`` is 0: C divides whole numbers to whole ones."""
    for node in ast.parse(MODULES[kernel].read_text()).body:
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        for part in ast.walk(node.value):
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Div):
                operands = (part.left, part.right)
                assert not all(
                    isinstance(each, ast.Constant) and isinstance(each.value, int)
                    for each in operands
                ), f"{kernel}, line {part.lineno}"


def test_all_files_of_types_belong_to_what_is_compiled() -> None:
    with_types = {module_name(file) for file in PACKAGE.rglob("*.pxd")}
    assert with_types == {*COMPILED, *C_LIBRARIES}


@pytest.mark.parametrize("file", OWN_FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_is_short_and_named_for_what_it_holds(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    assert file.stem not in DRAWERS
    if file.suffix == ".py":
        assert ast.get_docstring(ast.parse(text)), "no docstring says what this module is for"
