# A file's bytes as a C++ array, so that the program needs no other file.

# ptq_embed_file(<output.cc> <file> <function>): makes `output` when the project is built; it defines
# `std::string_view ptq::<function>()`, whose declaration the project writes itself.
function(ptq_embed_file output file function)
  add_custom_command(
    OUTPUT "${output}"
    COMMAND
      ${CMAKE_COMMAND} "-DINPUT=${file}" "-DOUTPUT=${output}" "-DFUNCTION=${function}" -P
      "${CMAKE_CURRENT_FUNCTION_LIST_FILE}"
    DEPENDS "${file}" "${CMAKE_CURRENT_FUNCTION_LIST_FILE}"
    COMMENT "Embedding ${file}"
    VERBATIM
  )
endfunction()

if(NOT CMAKE_SCRIPT_MODE_FILE)
  return()
endif()
file(READ "${INPUT}" bytes HEX)
string(REPEAT "." 40 line)  # of twenty bytes
string(REGEX REPLACE "(${line})" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(
  WRITE "${OUTPUT}"
  "#include <string_view>\n\n"
  "namespace ptq {\n\n"
  "std::string_view ${FUNCTION}();\n\n"
  "std::string_view ${FUNCTION}() {\n"
  "  static constexpr unsigned char kBytes[] = {\n${bytes}};\n"
  "  return {reinterpret_cast<const char*>(kBytes), sizeof(kBytes)};\n"
  "}\n\n"
  "}  // namespace ptq\n"
)
