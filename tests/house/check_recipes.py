# SPDX-License-Identifier: MIT
"""Runs what can be run of cmake/conan/conanfile.py without Conan, and reads the YAML of .github.

Usage: check_recipes.py ROOT. Exit status 77 where PyYAML is missing; the recipe is checked all the same.
"""

import pathlib
import re
import sys
import types

sys.dont_write_bytecode = True
root = pathlib.Path(sys.argv[1])


class ConanFile:
    """What a recipe inherits, as far as it is asked here."""

    recipe_folder = str(root / "cmake" / "conan")

    def __init__(self):
        self.required = []
        self.options = types.SimpleNamespace(**self.default_options)

    def requires(self, reference, **_):
        self.required.append(reference.split("/")[0])


def nothing(*_, **__):
    return None


names = {
    "conan": {"ConanFile": ConanFile},
    "conan.tools": {},
    "conan.tools.build": {"check_min_cppstd": nothing},
    "conan.tools.cmake": dict.fromkeys(["CMake", "CMakeDeps", "CMakeToolchain", "cmake_layout"], nothing),
    "conan.tools.files": {"copy": nothing, "load": lambda _, path: pathlib.Path(path).read_text()},
}
for name, members in names.items():
    sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[name]).update(members)

path = root / "cmake" / "conan" / "conanfile.py"
module = {"__name__": "conanfile"}
exec(compile(path.read_text(), str(path), "exec"), module)
version = re.search(r'LOGLINEAR_VERSION_STRING "(.*)"', (root / "include/loglinear/version.hpp").read_text()).group(1)
recipe = module["LoglinearRecipe"]()
recipe.set_version()
assert recipe.version == version, f"the recipe has version {recipe.version}, version.hpp has {version}"
for checkpoint, required in ((False, ["eigen"]), (True, ["eigen", "nlohmann_json"])):
    recipe.required = []
    recipe.options.checkpoint = checkpoint
    recipe.requirements()
    assert recipe.required == required, f"checkpoint={checkpoint} requires {recipe.required}"
options = (root / "CMakeLists.txt").read_text()
parts = re.search(r"for part in \((.*)\)", path.read_text()).group(1)
for part in re.findall(r'"(\w+)"', parts):
    assert re.search(rf"option\(LOGLINEAR_{part}\s", options), f"LOGLINEAR_{part} is no option of CMakeLists.txt"
print(f"the recipe has version {version}")

try:
    import yaml
except ImportError:
    print("PyYAML is missing, so that the files of .github are not read")
    sys.exit(77)

github = root / ".github"
job = yaml.safe_load((github / "workflows" / "tests.yml").read_text())["jobs"]["tests"]
assert job["container"] == "debian:12" and job["strategy"]["matrix"]["cxx"] == ["g++", "clang++"], "matrix"
steps = [step.get("run", step.get("uses", "")) for step in job["steps"]]
assert "tests/run" in steps, "the workflow does not run tests/run"
assert any(step.startswith("actions/cache@") for step in steps), "the workflow keeps nothing of ccache"
for form in ("bug", "feature"):
    fields = yaml.safe_load((github / "ISSUE_TEMPLATE" / f"{form}.yml").read_text())
    assert {"name", "description", "body"} <= fields.keys(), f"{form}.yml lacks what a form needs"
    ids = [field["id"] for field in fields["body"]]
    assert len(ids) == len(set(ids)), f"{form}.yml has two fields of one id"
    for field in fields["body"]:
        assert field["type"] in ("input", "textarea") and field["attributes"]["label"], f"{form}.yml: {field['id']}"
yaml.safe_load((github / "ISSUE_TEMPLATE" / "config.yml").read_text())
print("the files of .github are YAML with what they need")
