# For packages (PTQ_STATIC_LIBRARIES): the targets of Dependencies.cmake keep their headers and
# settings, so that objects are those of every other build, but name archives to link. Nothing but the
# C library is then needed where the program runs. What Debian has no archive of comes from
# tools/static_libraries.sh.
set(PTQ_STATIC_DIR "${PROJECT_SOURCE_DIR}/build/static/lib"
    CACHE PATH "Where tools/static_libraries.sh put its archives"
)
set(CMAKE_SKIP_RPATH ON)

# ptq_find_archive(<variable> <name>): lib<name>.a, of PTQ_STATIC_DIR or the system.
function(ptq_find_archive variable name)
  find_library(
    PTQ_ARCHIVE_${name} lib${name}.a HINTS "${PTQ_STATIC_DIR}" ${ARGN} REQUIRED NO_CACHE
  )
  set(${variable} "${PTQ_ARCHIVE_${name}}" PARENT_SCOPE)
endfunction()

# ptq_link_archive(<target> <name>): the imported target is linked from an archive.
function(ptq_link_archive target name)
  ptq_find_archive(archive ${name})
  get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
  foreach(configuration IN LISTS configurations)
    set_target_properties(${target} PROPERTIES IMPORTED_LOCATION_${configuration} "${archive}")
  endforeach()
  set_target_properties(${target} PROPERTIES IMPORTED_LOCATION "${archive}")
endfunction()

ptq_link_archive(onnx_proto onnx_proto)
ptq_link_archive(protobuf::libprotobuf protobuf)
ptq_link_archive(TBB::tbb tbb)
ptq_link_archive(spdlog::spdlog spdlog)
ptq_link_archive(fmt::fmt fmt)
ptq_link_archive(OpenSSL::Crypto crypto)
ptq_link_archive(ZLIB::ZLIB z)
ptq_find_archive(PTQ_PROMETHEUS_CPP prometheus-cpp-core)
ptq_find_archive(ptq_zip zip)
set_target_properties(PkgConfig::LIBZIP PROPERTIES INTERFACE_LINK_LIBRARIES "${ptq_zip}")
# All kernels are in it, too; the program picks those of the processor.
get_filename_component(ptq_openblas_dir "${OpenBLAS_LIBRARIES}" DIRECTORY)
ptq_find_archive(OpenBLAS_LIBRARIES openblas "${ptq_openblas_dir}")
