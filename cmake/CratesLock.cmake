# cmake -D CARGO=... -D LOCK=crates.lock -D CRATE=DIRECTORY [-D FLAGS=...] -P CratesLock.cmake
# Makes CRATE/Cargo.lock of crates.lock, which is cargo's own file without the lines that say where
# crates come from: those are the business of the machine, which may have a copy of its own. The word
# for it is taken from what cargo writes here. Versions and checksums stay those of crates.lock.
file(READ "${LOCK}" lock)
set(composed "${CRATE}/Cargo.lock")
if(EXISTS "${composed}")
  file(READ "${composed}" present)
  string(REGEX REPLACE "\nsource = [^\n]*" "" present "${present}")
  if(present STREQUAL lock)
    return()
  endif()
  file(REMOVE "${composed}")
endif()

execute_process(
  COMMAND "${CARGO}" generate-lockfile --quiet --manifest-path "${CRATE}/Cargo.toml" ${FLAGS}
  RESULT_VARIABLE status
)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "cargo cannot tell where crates come from (see above)")
endif()
file(READ "${composed}" present)
string(REGEX MATCH "\nsource = [^\n]*" source "${present}")
string(REPLACE "\nchecksum = " "${source}\nchecksum = " lock "${lock}")
file(WRITE "${composed}" "${lock}")
