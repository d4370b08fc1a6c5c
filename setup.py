"""The C extension, which is optional: without a compiler the package installs all the same and torch does its work."""

from setuptools import Extension, setup

SOURCES = [f"seqgan_env/native/{name}.c" for name in ("module", "softmax", "lstm", "likelihood", "convolution", "linear")]
HEADERS = [f"seqgan_env/native/{name}.h" for name in ("vectors", "softmax")]
FLAGS = ["-O3", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi"]

setup(ext_modules=[Extension("seqgan_env._native", SOURCES, depends=HEADERS, extra_compile_args=FLAGS, optional=True)])
