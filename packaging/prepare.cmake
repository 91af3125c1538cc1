# Run by CPack between installing into its own directory and packing: the layout that Debian's policy
# wants, for the .deb alone; and one time for all files, so that a package depends on its commit only.
if(CPACK_GENERATOR STREQUAL "DEB")
  file(GLOB_RECURSE program "${CPACK_TEMPORARY_DIRECTORY}/quantize")
  list(FILTER program INCLUDE REGEX "/bin/quantize$")
  get_filename_component(usr "${program}/../.." ABSOLUTE)
  set(doc "${usr}/share/doc/quantize")

  file(MAKE_DIRECTORY "${usr}/share/zsh" "${usr}/share/lintian/overrides")
  file(RENAME "${usr}/share/zsh/site-functions" "${usr}/share/zsh/vendor-completions")
  file(REMOVE "${doc}/LICENSE")  # Debian has the text; `copyright` names it
  configure_file("${CMAKE_CURRENT_LIST_DIR}/debian/copyright" "${doc}/copyright" COPYONLY)
  configure_file(
    "${CMAKE_CURRENT_LIST_DIR}/debian/lintian-overrides" "${usr}/share/lintian/overrides/quantize"
    COPYONLY
  )
  string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
  file(
    WRITE "${doc}/changelog"
    "quantize (${CPACK_PACKAGE_VERSION}) unstable; urgency=medium\n\n"
    "  * What has changed for users is in CHANGELOG.md.\n\n"
    " -- ${CPACK_PACKAGE_CONTACT}  ${date}\n"
  )
  execute_process(
    COMMAND gzip -9n "${doc}/changelog" "${doc}/THIRD_PARTY_LICENSES"
            "${usr}/share/man/man1/quantize.1" COMMAND_ERROR_IS_FATAL ANY
  )
endif()

execute_process(
  COMMAND find "${CPACK_TEMPORARY_DIRECTORY}" -type f -exec chmod go-w {} +
  COMMAND_ERROR_IS_FATAL ANY
)
if(DEFINED ENV{SOURCE_DATE_EPOCH})
  execute_process(
    COMMAND find "${CPACK_TEMPORARY_DIRECTORY}" -exec touch -h -d "@$ENV{SOURCE_DATE_EPOCH}" {} +
    COMMAND_ERROR_IS_FATAL ANY
  )
endif()
