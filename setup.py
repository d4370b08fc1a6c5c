"""The C extensions, which are optional: without a compiler the package installs all the same and
torch does their work.
"""

import hashlib
import platform
from pathlib import Path

from setuptools import Extension, setup

SOURCES, HEADERS = (
    sorted(path.as_posix() for path in Path("seqgan_env/native").glob(f"*.{kind}")) for kind in "ch"
)
FLAGS = [
    "-O3",
    "-ffp-contract=fast",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-Wno-psabi",
    "-fopenmp",
]
# The same sources are built once for each kind of processor, and the module is chosen at import.
VARIANTS = {"x86_64": ("avx512", "avx2"), "AMD64": ("avx512", "avx2")}
BUILT_FROM = hashlib.sha256(
    b"".join(Path(name).read_bytes() for name in sorted(SOURCES + HEADERS))
).hexdigest()


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
        extra_compile_args=FLAGS,
        extra_link_args=["-fopenmp"],
        optional=True,
    )


setup(ext_modules=[extension(variant) for variant in VARIANTS.get(platform.machine(), ())])
