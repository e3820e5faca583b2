"""Compiles the modules listed in polevpn_trio/kernels.py, when a C compiler is there.

All else about the package is in pyproject.toml. A kernel is an ordinary Python file that also
runs uncompiled, so a machine without a compiler gets the same program, slower. Where a compiler
and Python's headers are present, however, a kernel that does not build is an error and stops
the build: a silently slow tunnel would be found much later, by its users.

Environment:

``POLEVPN_TRIO_PURE=1``
    compile nothing.
``POLEVPN_TRIO_CYTHON_BOUNDSCHECK=1``
    compile with index checks, for a test run that looks for accesses out of bounds.
"""

from __future__ import annotations

import ast
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    # The .pxd alone says what is a C type. Otherwise Cython would also take the annotations of
    # the .py for its word, and refuse a bytearray where the annotation says bytes.
    "annotation_typing": False,
}
CHECKED = {"boundscheck": True, "initializedcheck": True}
EDGES = {
    **DIRECTIVES,
    **CHECKED,
    "wraparound": True,
    "cdivision": False,
    # Without inference a list is not taken for one that no index is checked of, and Cython 3.2 does
    # not search for ever for the types of local variables whose values depend on each other.
    "infer_types": False,
}
"""For what calls the kernels: Python's own rules, C types only where the .pxd has them."""

SUPPORT = "polevpn_trio.kernel_support"
"""A module of C alone with what Cython would otherwise put into each kernel for its memoryviews:
most of what there is to compile."""

# Line numbers are what profilers and sanitizers show of us; the rest of -g is a fifth of the time.
COMPILE_ARGS = ["-O3", "-g1"]

PROBE = "#include <Python.h>\nint probe(void) { return PY_MAJOR_VERSION; }\n"


def enabled(variable: str) -> bool:
    return bool(os.environ.get(variable))


def names_in(group: str) -> list[str]:
    """Read the module names of a group off kernels.py without running the package."""
    for node in ast.parse((HERE / "polevpn_trio" / "kernels.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == group:
            names: tuple[str, ...] = ast.literal_eval(node.value)
            return [name for name in names if source(name).exists()]
    raise SystemExit(f"setup.py: polevpn_trio/kernels.py defines no {group}")


def source(module: str) -> Path:
    """Give a module's file relative to this folder, as setuptools wants it."""
    return Path(*module.split(".")).with_suffix(".py")


def find_compiler() -> list[str] | None:
    """Give the command of a C compiler: $CC, Python's own, or any usual one."""
    for command in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc", "clang"):
        words = shlex.split(command or "")
        if words and shutil.which(words[0]):
            return words
    return None


def why_not_compile() -> str:
    """Tell in a few words why no kernel can be compiled here; empty if they can."""
    if enabled("POLEVPN_TRIO_PURE"):
        return "POLEVPN_TRIO_PURE is set"
    compiler = find_compiler()
    if compiler is None:
        return "no C compiler found"
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.c")
        probe.write_text(PROBE)
        headers = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
        command = [*compiler, "-shared", "-fPIC", *(f"-I{header}" for header in sorted(headers))]
        command += ["-o", str(Path(folder, "probe.so")), str(probe)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return f"{compiler[0]} finds no Python headers or C library"
    # setuptools asks only for the compiler that this Python was built with, which may be absent.
    os.environ.setdefault("CC", shlex.join(compiler))
    return ""


def libraries_have_changed() -> bool:
    """Tell whether C functions that several modules share are newer than what was made of those.

    Cython does not see that by itself: such a ``.pxd`` is no module that it translates.
    """
    own = {source(module).with_suffix(".pxd") for module in modules}
    shared = {file.relative_to(HERE) for file in (HERE / "polevpn_trio").rglob("*.pxd")} - own
    results = [HERE / "build" / source(module).with_suffix(".c") for module in modules]
    made = [file.stat().st_mtime for file in results if file.exists()]
    return bool(made) and max(file.stat().st_mtime for file in shared) > min(made)


class BuildKernels(build_ext):
    """build_ext that translates Python to C first, at the last moment.

    Only here, so that making an sdist or asking for metadata needs no Cython run.
    """

    def build_extensions(self) -> None:
        from Cython.Build import cythonize
        from Cython.Compiler.Errors import CompileError

        checked = CHECKED if enabled("POLEVPN_TRIO_CYTHON_BOUNDSCHECK") else {}
        at_edges = [each for each in self.extensions if each.name in edges]
        others = [each for each in self.extensions if each not in at_edges]
        translated = []
        force = self.force or libraries_have_changed()
        try:
            for extensions, directives in ((others, DIRECTIVES | checked), (at_edges, EDGES)):
                translated += cythonize(
                    extensions,
                    nthreads=os.cpu_count() or 1,
                    build_dir="build",
                    compiler_directives=directives,
                    force=force,
                    quiet=True,
                    shared_utility_qualified_name=SUPPORT,
                )
        except CompileError as error:
            raise SystemExit(f"polevpn_trio: cannot be translated to C: {error}") from None
        sources = {extension.name: extension.sources for extension in translated}
        for extension in self.extensions:
            extension.sources = sources[extension.name]
        self.parallel = self.parallel or True
        super().build_extensions()


def drop_stale(modules: list[str]) -> None:
    """Remove in-place builds that are older than their source: they would shadow it."""
    for module in modules:
        python = HERE / source(module)
        newest = max(
            file.stat().st_mtime for file in (python, python.with_suffix(".pxd")) if file.exists()
        )
        for build in python.parent.glob(f"{python.stem}.*.so"):
            if build.stat().st_mtime < newest:
                build.unlink()


os.chdir(HERE)
edges = names_in("EDGES")
modules = [*names_in("KERNELS"), *edges]
reason = why_not_compile()
if reason:
    print(f"polevpn_trio: {reason}: its kernels run as plain Python, slower", file=sys.stderr)
    drop_stale(modules)

setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[]
    if reason
    else [
        Extension(SUPPORT, [], extra_compile_args=COMPILE_ARGS),
        *(
            Extension(module, [str(source(module))], extra_compile_args=COMPILE_ARGS)
            for module in modules
        ),
    ],
)
