# SPDX-License-Identifier: MIT
"""A recipe for Conan 2 of the tree that it lies in: `conan create <tree>/cmake/conan`.

The option `checkpoint` brings nlohmann-json. Consumers use the library's own CMake package, with all of its components.
"""

import os
import re

from conan import ConanFile
from conan.tools.build import check_min_cppstd
from conan.tools.cmake import CMake, CMakeDeps, CMakeToolchain, cmake_layout
from conan.tools.files import copy, load


class LoglinearRecipe(ConanFile):
    name = "loglinear"
    description = "Log-linear attention, streaming, header-only, on Eigen"
    license = "MIT"
    package_type = "header-library"
    settings = "os", "compiler", "build_type", "arch"
    options = {"checkpoint": [True, False]}
    default_options = {"checkpoint": False}

    def _tree(self):
        return os.path.join(self.recipe_folder, "..", "..")

    def set_version(self):
        header = load(self, os.path.join(self._tree(), "include", "loglinear", "version.hpp"))
        self.version = re.search(r'LOGLINEAR_VERSION_STRING "([^"]+)"', header).group(1)

    def export_sources(self):
        for pattern in ("CMakeLists.txt", "LICENSE", "README.md", "CHANGELOG.md", "cmake/*", "include/*"):
            copy(self, pattern, self._tree(), self.export_sources_folder)

    def layout(self):
        cmake_layout(self)

    def requirements(self):
        self.requires("eigen/[>=3.4.0 <6]", transitive_headers=True)
        if self.options.checkpoint:
            self.requires("nlohmann_json/[>=3.11 <4]", transitive_headers=True)

    def package_id(self):
        self.info.clear()

    def validate(self):
        check_min_cppstd(self, 20)

    def generate(self):
        CMakeDeps(self).generate()
        toolchain = CMakeToolchain(self)
        for part in ("BUILD_TESTS", "BUILD_EXAMPLES", "BUILD_BENCHMARKS", "TORCH", "MPI"):
            toolchain.cache_variables["LOGLINEAR_" + part] = False
        toolchain.cache_variables["LOGLINEAR_INSTALL"] = True
        toolchain.generate()

    def package(self):
        copy(self, "LICENSE", self.source_folder, os.path.join(self.package_folder, "licenses"))
        cmake = CMake(self)
        cmake.configure()
        cmake.install()

    def package_info(self):
        self.cpp_info.bindirs = []
        self.cpp_info.libdirs = []
        self.cpp_info.builddirs = [os.path.join("share", "cmake", "loglinear")]
        self.cpp_info.set_property("cmake_find_mode", "none")
