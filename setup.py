"""The C extensions, which are optional: without a compiler the package installs all the same and
torch does their work.
"""

import hashlib
import platform
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

SOURCES, HEADERS = (
    sorted(path.as_posix() for path in Path("seqgan_env/native").glob(f"*.{kind}")) for kind in "ch"
)
FLAGS = [
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
]
# On 64-bit ARM GCC fills the registers with what it moves before a loop, and spills the sums.
GCC_FLAGS = {"neon": ["-fno-schedule-insns", "-fno-move-loop-invariants"]}
# The same sources are built once for each kind of processor, and the module is chosen at import.
VARIANTS = {
    "x86_64": ("avx512", "avx2"),
    "AMD64": ("avx512", "avx2"),
    "aarch64": ("neon",),
    "arm64": ("neon",),  # the name that macOS has for it
}
BUILT_FROM = hashlib.sha256(
    b"".join(Path(name).read_bytes() for name in sorted(SOURCES + HEADERS))
).hexdigest()


class BuildKernels(build_ext):
    """Builds the kernels with the threads of torch, which are those of an OpenMP library.

    GCC's code calls the libgomp that torch has on Linux. Clang's calls LLVM's OpenMP, which torch
    has on macOS: nothing is linked there, so that the names are looked up in what torch has loaded.
    Clang's code has no threads elsewhere, for a second pool would keep torch's from the cores.
    """

    def build_extensions(self) -> None:
        is_clang = self._is_clang()
        for built in self.extensions:
            variant = built.name.rpartition("_")[2]
            if not is_clang:
                built.extra_compile_args = [*FLAGS, *GCC_FLAGS.get(variant, []), "-fopenmp"]
                built.extra_link_args = ["-fopenmp"]
            elif sys.platform == "darwin":  # Apple's driver refuses the flag itself
                built.extra_compile_args = [*FLAGS, "-Xclang", "-fopenmp"]
            else:
                built.extra_compile_args = FLAGS
        super().build_extensions()

    def _is_clang(self) -> bool:
        """Whether the C compiler is a Clang; Apple's may be named gcc."""
        command = [*getattr(self.compiler, "compiler_so", ["cc"]), "--version"]
        try:
            said = subprocess.run(command, capture_output=True, text=True).stdout
        except OSError:
            return False
        return "clang" in said


def extension(variant: str) -> Extension:
    """The module of one variant of the kernels."""
    return Extension(
        f"seqgan_env._native_{variant}",
        SOURCES,
        depends=HEADERS,
        define_macros=[
            (f"VARIANT_{variant.upper()}", None),
            ("BUILT_FROM", f'"{BUILT_FROM}"'),  # a checkout can be newer than what was built in it
        ],
        optional=True,
    )


setup(
    ext_modules=[extension(variant) for variant in VARIANTS.get(platform.machine(), ())],
    cmdclass={"build_ext": BuildKernels},
)
