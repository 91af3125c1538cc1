# The folders in the order of the road; each may use only those above it (tests/layering checks it).
set(PTQ_FOLDERS
    base tensor model ops runtime text stats quant plan emit pipeline evaluate report cli
)

# Several files are compiled as one (CMAKE_UNITY_BUILD, on in the presets that scripts build): headers
# are then read once for all of them. The files named ALONE are compiled by themselves, since they
# have local names that others of their folder have, too.
function(ptq_compile_alone)
  set_source_files_properties(${ARGN} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
endfunction()

# ptq_add_folder(<folder> SOURCES ... [ALONE ...]): the folder's object library, part of the library
# `ptq`.
function(ptq_add_folder folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;ALONE" ${ARGN})
  ptq_compile_alone(${ARG_ALONE})
  add_library(ptq_${folder} OBJECT ${ARG_SOURCES})
  target_link_libraries(ptq_${folder} PUBLIC ptq_dependencies PRIVATE ptq_build_options)
  set_target_properties(ptq_${folder} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

# ptq_add_unit_tests(<folder> SOURCES ... [ALONE ...]): one executable that sees the folder and those
# above it.
function(ptq_add_unit_tests folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;ALONE" ${ARGN})
  ptq_compile_alone(${ARG_ALONE})
  add_executable(${folder}_tests ${ARG_SOURCES})
  foreach(name IN LISTS PTQ_FOLDERS)
    target_link_libraries(${folder}_tests PRIVATE ptq_${name})
    if(name STREQUAL folder)
      break()
    endif()
  endforeach()
  target_link_libraries(
    ${folder}_tests PRIVATE ptq_build_options ptq_test_support GTest::gtest_main GTest::gmock
  )
  gtest_discover_tests(${folder}_tests TEST_PREFIX ${folder}. DISCOVERY_TIMEOUT 60)
endfunction()
