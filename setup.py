"""What `pyproject.toml` cannot say: the native module, and the tag of its wheel.

The module uses the stable interface of CPython 3.11, so one wheel (`cp311-abi3`) serves every later
release. Free-threaded builds have no stable interface yet: there the wheel is for that one release.

A build with sanitizers keeps its object files apart, or setuptools would take those of an ordinary
build for its own.
"""

import os
import sysconfig

from setuptools import setup

options: dict[str, dict[str, str]] = {}
if not sysconfig.get_config_var("Py_GIL_DISABLED"):
    options["bdist_wheel"] = {"py_limited_api": "cp311"}
if os.environ.get("AUROLOG_SANITIZE"):
    options["build"] = {"build_base": "build/sanitize"}

setup(cffi_modules=["csrc/build_native.py:ffibuilder"], options=options)
