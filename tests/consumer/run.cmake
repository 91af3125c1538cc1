# Arguments: BUILD (a finished build), WORK (made anew), SOURCE, GENERATOR, COMPILER, TYPE, BIN, DATA.
set(prefix "${WORK}/prefix")
file(REMOVE_RECURSE "${WORK}")

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  if(NOT status EQUAL 0)
    list(JOIN ARGV " " command)
    message(FATAL_ERROR "'${command}' failed (${status}):\n${text}")
  endif()
  set(output "${text}" PARENT_SCOPE)
endfunction()

run("${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${prefix}")
# Moved, so that a path of the first place written into the package would be found out.
file(RENAME "${prefix}" "${WORK}/moved")
set(prefix "${WORK}/moved")

run(
  "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${WORK}/build" -G "${GENERATOR}"
  "-DCMAKE_CXX_COMPILER=${COMPILER}" "-DCMAKE_BUILD_TYPE=${TYPE}" "-DCMAKE_PREFIX_PATH=${prefix}"
)
run("${CMAKE_COMMAND}" --build "${WORK}/build")
run("${WORK}/build/consumer")
message(STATUS "${output}")
if(NOT output MATCHES "largest error [0-9.e+-]+, at most one step: yes")
  message(FATAL_ERROR "the consumer said something else:\n${output}")
endif()

run("${prefix}/${BIN}/quantize" --version)
message(STATUS "${output}")
if(NOT EXISTS "${prefix}/${DATA}/doc/ptq/LICENSE")
  message(FATAL_ERROR "${DATA}/doc/ptq/LICENSE was not installed")
endif()
