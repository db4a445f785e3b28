# Two source files with different flags in one program: where these change layouts it says so before
# the first object is made. And a flag that is refused.
include(${CMAKE_CURRENT_LIST_DIR}/common.cmake)
file(REMOVE_RECURSE "${WORK}")
file(MAKE_DIRECTORY "${WORK}")
set(compile ${CXX} -std=c++20 -I "${SOURCE}/include" -isystem ${EIGEN} -c)
set(consumer "${CMAKE_CURRENT_LIST_DIR}/mixed_flags")

run(${compile} "${consumer}/main.cpp" -o "${WORK}/main.o")

# link(flag): other.cpp with that flag, main.cpp without.
macro(link flag)
  run(${compile} ${flag} "${consumer}/other.cpp" -o "${WORK}/other.o")
  run(${CXX} "${WORK}/main.o" "${WORK}/other.o" -o "${WORK}/program")
endmacro()

foreach(flag IN ITEMS -O2 -DNDEBUG -std=c++2b -DEIGEN_STACK_ALLOCATION_LIMIT=1000)
  link(${flag})
  run("${WORK}/program")
endforeach()

# flag | what differs
set(different
    "-fno-exceptions | whether there are exceptions is 1 in some and 0 in others"
    "-DLOGLINEAR_THROW(error)=std::abort() | whether the program defines LOGLINEAR_THROW is 0 in some and 1 in others"
    "-DLOGLINEAR_KEEP_DENORMALS | whether LOGLINEAR_KEEP_DENORMALS is defined is 0 in some and 1 in others"
    "-DEIGEN_DEFAULT_DENSE_INDEX_TYPE=int | sizeof.Eigen::Index. is 8 in some and 4 in others"
    "-DEIGEN_MAX_STATIC_ALIGN_BYTES=0 | alignof.Eigen::Vector4f. is 16 in some and"
    "-DEIGEN_MAX_ALIGN_BYTES=64 | EIGEN_DEFAULT_ALIGN_BYTES is 16 in some and 64 in others"
    "-DEIGEN_MALLOC_ALREADY_ALIGNED=0 | EIGEN_MALLOC_ALREADY_ALIGNED is 1 in some and 0 in others"
    "-DEIGEN_DONT_ALIGN_STATICALLY | alignof.Eigen::Vector4f."
    "-DEIGEN_DONT_VECTORIZE | the size of Eigen's packets of float is 4 in some and 1 in others"
    "-DEIGEN_DEFAULT_TO_ROW_MAJOR | whether Eigen's matrices are row-major is 0 in some and 1 in others"
    "-fshort-enums | the size of an enumeration is 4 in some and 1 in others")
cmake_host_system_information(RESULT PROCESSOR QUERY OS_PLATFORM)
if(PROCESSOR MATCHES "x86_64|AMD64")
  list(APPEND different
       "-mavx2 | the instruction set is the baseline in some and AVX2 in others. alignof"
       "-march=x86-64-v4 | the instruction set is the baseline in some and AVX-512 in others"
       "-mlong-double-64 | sizeof.long double. is 16 in some and 8 in others")
endif()
foreach(pair IN LISTS different)
  string(REGEX MATCH "^(.*) [|] (.*)$" matched "${pair}")
  set(flag "${CMAKE_MATCH_1}")
  set(what "${CMAKE_MATCH_2}")
  link(${flag})
  run_failing("^loglinear: source files of one program were compiled with different flags: .*${what}"
              "${WORK}/program")
endforeach()

run_failing("removes the checks for NaN; add -fno-finite-math-only" ${compile} -ffast-math
            "${consumer}/checks.cpp" -o "${WORK}/refused.o")
run(${compile} -ffast-math -fno-finite-math-only "${consumer}/checks.cpp" -o "${WORK}/taken.o")
