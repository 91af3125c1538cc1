# Compiles through ccache where it is installed and no other launcher was asked for.
find_program(PTQ_CCACHE ccache DOC "ccache, to compile what was compiled before at once")
mark_as_advanced(PTQ_CCACHE)
if(PTQ_CCACHE)
  # Paths count relative to the build directory: files that unity builds make, which lie in it, are
  # the same in another one then (release and mpi).
  set(PTQ_CCACHE_PATHS CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1)
  foreach(language IN ITEMS C CXX)
    if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
      set(CMAKE_${language}_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env ${PTQ_CCACHE_PATHS}
                                              ${PTQ_CCACHE})
    endif()
  endforeach()
endif()
