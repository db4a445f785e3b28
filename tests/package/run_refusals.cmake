# What is refused, and how: a version that does not fit, Eigen missing, Eigen too old.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)
file(REMOVE_RECURSE "${WORK}")
run(${CMAKE_COMMAND} --install "${LIBRARY_BUILD}" --prefix "${WORK}/prefix")

set(find ${CMAKE_COMMAND} -G "${GENERATOR}" --fresh -S "${CMAKE_CURRENT_LIST_DIR}/find" -B "${WORK}/find"
         "-DCMAKE_PREFIX_PATH=${WORK}/prefix")
set(no_eigen -DCMAKE_DISABLE_FIND_PACKAGE_Eigen3=ON)
set(old_eigen "-DEigen3_DIR=${CMAKE_CURRENT_LIST_DIR}/old_eigen")
set(missing "loglinear needs Eigen 3.4 or newer, and no Eigen3Config.cmake was found: install Eigen")
set(too_old "loglinear needs Eigen 3.4 or newer; found 3.3.9 in ")

run(${find} -DWANTED=${VERSION})
foreach(wrong IN ITEMS 0.0.9 0.2 1.0 99)
  run_failing("compatible with requested version" ${find} -DWANTED=${wrong})
endforeach()
run_failing("${missing}" ${find} ${no_eigen})

# nlohmann-json only matters to who asks for checkpoints, and may be missing where they are optional.
set(no_json -DCMAKE_DISABLE_FIND_PACKAGE_nlohmann_json=ON)
set(json_missing "loglinear's component checkpoint needs nlohmann-json, and no nlohmann_jsonConfig.cmake was found")
run(${find} -DWANTED=${VERSION} ${no_json})
run(${find} -DWANTED=${VERSION} -DCOMPONENTS=checkpoint)
run(${find} -DWANTED=${VERSION} -DOPTIONAL=checkpoint ${no_json})
run_failing("${json_missing}" ${find} -DWANTED=${VERSION} -DCOMPONENTS=checkpoint ${no_json})
# The same of LibTorch.
set(no_torch -DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON)
set(torch_missing "loglinear's component torch needs LibTorch, and no TorchConfig.cmake was found")
run(${find} -DWANTED=${VERSION} -DOPTIONAL=torch ${no_torch})
run_failing("${torch_missing}" ${find} -DWANTED=${VERSION} -DCOMPONENTS=torch ${no_torch})
# The same of MPI.
set(no_mpi -DCMAKE_DISABLE_FIND_PACKAGE_MPI=ON)
set(mpi_missing "loglinear's component mpi needs MPI, and find_package.MPI COMPONENTS CXX. found none")
run(${find} -DWANTED=${VERSION} -DOPTIONAL=mpi ${no_mpi})
run_failing("${mpi_missing}" ${find} -DWANTED=${VERSION} -DCOMPONENTS=mpi ${no_mpi})
run_failing("loglinear" ${find} -DWANTED=${VERSION} -DCOMPONENTS=nonsense)
run_failing("${too_old}" ${find} ${old_eigen})

set(library ${CMAKE_COMMAND} -G "${GENERATOR}" --fresh -S "${SOURCE}" -B "${WORK}/library"
            -DCMAKE_CXX_COMPILER=${CXX} -DLOGLINEAR_BUILD_TESTS=OFF -DLOGLINEAR_BUILD_EXAMPLES=OFF)
run_failing("${missing}" ${library} ${no_eigen})
run_failing("${too_old}" ${library} ${old_eigen})
