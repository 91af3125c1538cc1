# Packages of the program (the component `program`) by CPack: a .deb and a tarball, and what is in it by
# origin. tools/package.sh makes them; docs/packages.md tells about them.
find_package(Python3 3.9 REQUIRED COMPONENTS Interpreter)
set(PTQ_PACKAGE_MAINTAINER "quantize maintainers <quantize@example.org>"
    CACHE STRING "Who answers for the Debian package"
)

# What the linked program consists of, and the licences of it all.
set(ptq_supply_dir "${PROJECT_BINARY_DIR}/supply")
set(ptq_supply_files "${ptq_supply_dir}/sbom.spdx.json" "${ptq_supply_dir}/THIRD_PARTY_LICENSES")
add_custom_command(
  OUTPUT ${ptq_supply_files}
  COMMAND
    "${Python3_EXECUTABLE}" "${PROJECT_SOURCE_DIR}/tools/sbom.py" --build "${PROJECT_BINARY_DIR}"
    --static "${PTQ_STATIC_DIR}/.." --crate "${PTQ_CARGO_DIR}/source" --cargo "${PTQ_CARGO}"
    --version "${PROJECT_VERSION}" --out "${ptq_supply_dir}"
  DEPENDS quantize "${PROJECT_SOURCE_DIR}/tools/sbom.py"
  COMMENT "Listing what the program consists of"
  VERBATIM
)
add_custom_target(supply ALL DEPENDS ${ptq_supply_files})
install(FILES ${ptq_supply_files} DESTINATION "${CMAKE_INSTALL_DOCDIR}" COMPONENT program)

set(CPACK_PACKAGE_NAME quantize)
set(CPACK_PACKAGE_VERSION "${PROJECT_VERSION}")
set(CPACK_PACKAGE_CONTACT "${PTQ_PACKAGE_MAINTAINER}")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "post-training quantization of ONNX transformer models")
set(CPACK_PACKAGE_DESCRIPTION
    "Quantizes the weights of ONNX transformer models after training to 2, 3, 4 or 8
bits (AWQ, GPTQ, SmoothQuant, AdaRound), calibrates on text, checks what it has
written, and measures its quality. ONNX Runtime loads the result.
.
A small model to try it on is in /usr/share/quantize/demo."
)
set(CPACK_GENERATOR DEB TGZ)
set(CPACK_PACKAGE_DIRECTORY "${PROJECT_SOURCE_DIR}/build/packages")
string(TOLOWER "${CMAKE_SYSTEM_NAME}-${CMAKE_SYSTEM_PROCESSOR}" ptq_system)
set(CPACK_PACKAGE_FILE_NAME "quantize-${PROJECT_VERSION}-${ptq_system}")
set(CPACK_PRE_BUILD_SCRIPTS "${PROJECT_SOURCE_DIR}/packaging/prepare.cmake")

set(CPACK_COMPONENTS_ALL program)
set(CPACK_COMPONENTS_GROUPING ALL_COMPONENTS_IN_ONE)
set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_ARCHIVE_COMPONENT_INSTALL ON)
set(CPACK_PROJECT_CONFIG_FILE "${PROJECT_SOURCE_DIR}/packaging/generators.cmake")

set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
