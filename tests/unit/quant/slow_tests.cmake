# Read by ctest behind the discovered tests. A thousand random layers; two hundred for each piece, and
# forty for each preset, are left to the fast part. Some versions of CMake add the parameter to the
# name; names that no test has are passed over.
foreach(preset IN ITEMS adaround awq awq-gptq best gptq rtn smoothquant)
  string(REPLACE "-" "_" name ${preset})
  foreach(levels IN ITEMS Methods/ Codebooks/nf4_ Codebooks/fp4_)
    string(REPLACE "/" "/PresetProperties.IsNeverWorseThanRoundToNearestAndWellFormed/" test
                   "quant.${levels}"
    )
    string(REGEX REPLACE "^.*/" "" parameter "${levels}${preset}")
    set_tests_properties("${test}${name}" PROPERTIES LABELS slow)
    set_tests_properties("${test}${name}  # GetParam() = ${parameter}" PROPERTIES LABELS slow)
  endforeach()
endforeach()
