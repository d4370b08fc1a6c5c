"""The C extension, which is optional: without a compiler the package installs all the same and
torch does its work.
"""

import hashlib
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
BUILT_FROM = hashlib.sha256(
    b"".join(Path(name).read_bytes() for name in sorted(SOURCES + HEADERS))
).hexdigest()

setup(
    ext_modules=[
        Extension(
            "seqgan_env._native",
            SOURCES,
            depends=HEADERS,
            define_macros=[
                ("BUILT_FROM", f'"{BUILT_FROM}"')
            ],  # a checkout can be newer than what was built in it
            extra_compile_args=FLAGS,
            extra_link_args=["-fopenmp"],
            optional=True,
        )
    ]
)
