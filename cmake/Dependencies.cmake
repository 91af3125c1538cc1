# Finds every library and bundles them, with the compiler's settings, in one interface target.
find_package(Threads REQUIRED)
find_package(Protobuf REQUIRED)  # before ONNX: its targets name protobuf::libprotobuf
find_package(ONNX REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(OpenBLAS REQUIRED)
find_package(TBB REQUIRED)
find_package(spdlog REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
find_package(ZLIB REQUIRED)
find_library(PTQ_PROMETHEUS_CPP prometheus-cpp-core REQUIRED)  # to say so before it is linked
find_package(PkgConfig REQUIRED)
pkg_check_modules(LIBZIP REQUIRED IMPORTED_TARGET libzip)
if(PTQ_STATIC_LIBRARIES)
  include(StaticLibraries)
endif()

add_library(ptq_dependencies INTERFACE)
target_compile_features(ptq_dependencies INTERFACE cxx_std_20)
target_include_directories(
  ptq_dependencies
  INTERFACE $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>
            $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
)
target_include_directories(ptq_dependencies SYSTEM INTERFACE ${OpenBLAS_INCLUDE_DIRS})
# One setting for every translation unit: Eigen's templates must not differ between object files.
target_compile_definitions(ptq_dependencies INTERFACE EIGEN_USE_BLAS EIGEN_DONT_PARALLELIZE)
target_link_libraries(
  ptq_dependencies
  INTERFACE Threads::Threads
            onnx_proto
            protobuf::libprotobuf
            Eigen3::Eigen
            ${OpenBLAS_LIBRARIES}
            TBB::tbb
            spdlog::spdlog
            nlohmann_json::nlohmann_json
            CLI11::CLI11
            OpenSSL::Crypto
            PkgConfig::LIBZIP
            ZLIB::ZLIB
            $<BUILD_INTERFACE:${PTQ_PROMETHEUS_CPP}>
            $<INSTALL_INTERFACE:prometheus-cpp-core>
)
if(PTQ_MPI)
  find_package(MPI REQUIRED COMPONENTS C)
  # Its headers are for src/base/ranks_mpi.cc alone.
  target_link_libraries(ptq_dependencies INTERFACE $<LINK_ONLY:MPI::MPI_C>)
endif()

# Private to the project's own targets; never handed on to a consumer.
add_library(ptq_build_options INTERFACE)
target_compile_options(ptq_build_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow)
# A product and a sum are two roundings on every processor (include/ptq/base/simd.h).
target_compile_options(ptq_build_options INTERFACE -ffp-contract=off)
# A member that a JSON object does not have is the file's fault: the library would only assert it.
target_compile_options(
  ptq_build_options INTERFACE
  "SHELL:-include ${PROJECT_SOURCE_DIR}/include/ptq/base/json_assert.h"
)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  # GCC 12 sees overlapping copies in every `"text" + string` (GCC bug 105651, mended in 13).
  target_compile_options(ptq_build_options INTERFACE -Wno-restrict)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # It looks for unused memory from 1 GB on, not from 128 MB: 4 to 11 % less time.
  target_compile_options(ptq_build_options INTERFACE "SHELL:--param ggc-min-heapsize=1000000")
endif()
if(PTQ_WARNINGS_AS_ERRORS)
  target_compile_options(ptq_build_options INTERFACE -Werror)
endif()
if(PTQ_SANITIZE)
  target_compile_options(
    ptq_build_options INTERFACE -fsanitize=${PTQ_SANITIZE} -fno-omit-frame-pointer
                                -fno-sanitize-recover=all
  )
  target_link_options(ptq_build_options INTERFACE -fsanitize=${PTQ_SANITIZE})
endif()
