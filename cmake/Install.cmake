# Installs the program with its documents (the component `program`, which packages have) and, unless it is
# for packages alone, the library with its headers and CMake package (`development`).
include(CMakePackageConfigHelpers)

install(
  TARGETS quantize RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT program
)
install(
  FILES "${PROJECT_SOURCE_DIR}/README.md" "${PROJECT_SOURCE_DIR}/CHANGELOG.md"
        "${PROJECT_SOURCE_DIR}/LICENSE"
  DESTINATION "${CMAKE_INSTALL_DOCDIR}"
  COMPONENT program
)
install(
  DIRECTORY "${PROJECT_SOURCE_DIR}/docs/"
  DESTINATION "${CMAKE_INSTALL_DOCDIR}"
  COMPONENT program
  FILES_MATCHING PATTERN "*.md" PATTERN "*.json" PATTERN "man" EXCLUDE
)
install(
  FILES "${PROJECT_SOURCE_DIR}/docs/man/quantize.1"
  DESTINATION "${CMAKE_INSTALL_MANDIR}/man1"
  COMPONENT program
)
# Each asks the program itself, so that it knows what the installed version knows.
install(
  FILES "${PROJECT_SOURCE_DIR}/tools/completion/quantize.bash"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions"
  COMPONENT program
  RENAME quantize
)
install(
  FILES "${PROJECT_SOURCE_DIR}/tools/completion/_quantize"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/site-functions"
  COMPONENT program
)
install(
  FILES "${PROJECT_SOURCE_DIR}/tools/completion/quantize.fish"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d"
  COMPONENT program
)
# Something to try it on.
install(
  DIRECTORY "${PROJECT_SOURCE_DIR}/data/demo"
  DESTINATION "${CMAKE_INSTALL_DATADIR}/quantize"
  COMPONENT program
)

if(PTQ_STATIC_LIBRARIES)
  include(Packages)
  return()
endif()

set(ptq_package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/ptq")

install(
  TARGETS ptq ptq_dependencies
  EXPORT ptqTargets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development
)
install(
  DIRECTORY "${PROJECT_SOURCE_DIR}/include/ptq"
  DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  COMPONENT development
  FILES_MATCHING PATTERN "*.h"
)
if(TARGET ptq_text_ffi)
  get_target_property(ptq_text_ffi_file ptq_text_ffi IMPORTED_LOCATION)
  install(
    FILES "${ptq_text_ffi_file}" DESTINATION "${CMAKE_INSTALL_LIBDIR}" COMPONENT development
  )
endif()

# find_package(ptq)
install(
  EXPORT ptqTargets NAMESPACE ptq:: DESTINATION "${ptq_package_dir}" COMPONENT development
)
configure_package_config_file(
  "${PROJECT_SOURCE_DIR}/cmake/ptqConfig.cmake.in" "${PROJECT_BINARY_DIR}/ptqConfig.cmake"
  INSTALL_DESTINATION "${ptq_package_dir}"
)
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/ptqConfigVersion.cmake" COMPATIBILITY SameMinorVersion
)
install(
  FILES "${PROJECT_BINARY_DIR}/ptqConfig.cmake" "${PROJECT_BINARY_DIR}/ptqConfigVersion.cmake"
  DESTINATION "${ptq_package_dir}"
  COMPONENT development
)
