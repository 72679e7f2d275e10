"""The two steps that setuptools cannot be told of in pyproject.toml: the extension module, and the WIT files of abi/."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithWit(build_py):
    """Puts abi/ into the package, where an installed guesthouse looks for it."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree(
                Path(__file__).parent / "abi", Path(self.build_lib) / "guesthouse" / "abi", dirs_exist_ok=True
            )


setup(
    cffi_modules=["host/guesthouse/_native/build.py:ffibuilder"],
    cmdclass={"build_py": BuildWithWit},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
