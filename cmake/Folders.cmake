# The folders in the order of the road; each may use only those above it (tests/layering checks it).
set(PTQ_FOLDERS
    base tensor model ops runtime text stats quant plan transform emit calibrate search pipeline evaluate flows report cli
)

# Several files are compiled as one (CMAKE_UNITY_BUILD, on in the presets that scripts build): headers
# are then read once for all of them. Names at the head of a file are therefore its own in the whole
# folder, also in an anonymous namespace. The batches of a target are of one size, so that none is
# left with a file or two; those that are optimised fully are smaller, since a compiler takes up to
# 1.5 GB for them.
function(ptq_even_batches target)
  set(limit "${CMAKE_UNITY_BUILD_BATCH_SIZE}")
  if(limit)
    if(target MATCHES "_loops$")
      math(EXPR limit "(${limit} * 3 + 4) / 5")
    endif()
    get_target_property(sources ${target} SOURCES)
    list(LENGTH sources count)
    math(EXPR batches "(${count} + ${limit} - 1) / ${limit}")
    math(EXPR size "(${count} + ${batches} - 1) / ${batches}")
    set_target_properties(${target} PROPERTIES UNITY_BUILD_BATCH_SIZE ${size})
  endif()
endfunction()

# What has no loops over many elements: a third less to compile, a smaller program, and nothing that a
# run would notice.
function(ptq_optimize_less target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-Os>)
endfunction()

function(ptq_add_objects target)
  add_library(${target} OBJECT ${ARGN})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${target} PUBLIC ptq_dependencies PRIVATE ptq_build_options)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  ptq_even_batches(${target})
endfunction()

# ptq_add_folder(<folder> [SOURCES ...] [LOOPS ...]): the folder's object libraries, parts of the
# library `ptq`. LOOPS are the files with loops that runs spend their time in: they are optimised
# fully, the others less.
function(ptq_add_folder folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;LOOPS" ${ARGN})
  if(ARG_SOURCES)
    ptq_add_objects(ptq_${folder} ${ARG_SOURCES})
    ptq_optimize_less(ptq_${folder})
  endif()
  if(ARG_LOOPS)
    ptq_add_objects(ptq_${folder}_loops ${ARG_LOOPS})
  endif()
endfunction()

# ptq_folder_objects(<variable> <folder>): its object libraries.
function(ptq_folder_objects variable folder)
  set(objects "")
  foreach(target IN ITEMS ptq_${folder} ptq_${folder}_loops)
    if(TARGET ${target})
      list(APPEND objects ${target})
    endif()
  endforeach()
  set(${variable} ${objects} PARENT_SCOPE)
endfunction()

# ptq_add_unit_tests(<folder> SOURCES ...): one executable that sees the folder and those above it.
function(ptq_add_unit_tests folder)
  cmake_parse_arguments(ARG "" "" "SOURCES" ${ARGN})
  add_executable(${folder}_tests ${ARG_SOURCES})
  ptq_even_batches(${folder}_tests)
  ptq_optimize_less(${folder}_tests)
  foreach(name IN LISTS PTQ_FOLDERS)
    ptq_folder_objects(objects ${name})
    target_link_libraries(${folder}_tests PRIVATE ${objects})
    if(name STREQUAL folder)
      break()
    endif()
  endforeach()
  target_link_libraries(
    ${folder}_tests PRIVATE ptq_build_options ptq_test_support GTest::gtest_main GTest::gmock
  )
  gtest_discover_tests(${folder}_tests TEST_PREFIX ${folder}. DISCOVERY_TIMEOUT 60)
endfunction()
