# Builds src/text/ffi, the Rust static library behind the tokenizer and chat templates, and offers
# it as the imported target `ptq_text_ffi`. Include once, when PTQ_TEXT is on.

set(PTQ_CARGO_MINIMUM 1.85)
# Several builds of one source tree may name the same directory: the library is the same for all.
set(PTQ_CARGO_DIR "${PROJECT_BINARY_DIR}/text_ffi" CACHE PATH "Where cargo builds")
set(PTQ_CARGO_FLAGS "" CACHE STRING "More arguments of `cargo build`, for example --offline")

function(ptq_cargo_is_recent result candidate)
  execute_process(
    COMMAND ${candidate} --version OUTPUT_VARIABLE text RESULT_VARIABLE status ERROR_QUIET
  )
  if(NOT status EQUAL 0 OR NOT text MATCHES "cargo ([0-9]+\\.[0-9]+\\.[0-9]+)"
     OR CMAKE_MATCH_1 VERSION_LESS PTQ_CARGO_MINIMUM)
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

# The first recent cargo wins: PATH, then rustup's own folder, then Debian's cargo-web.
find_program(
  PTQ_CARGO cargo HINTS ENV PATH "$ENV{HOME}/.cargo/bin" PATHS /usr/bin
  VALIDATOR ptq_cargo_is_recent DOC "cargo ${PTQ_CARGO_MINIMUM} or newer"
)
if(NOT PTQ_CARGO)
  message(
    FATAL_ERROR
      "The tokenizer needs cargo ${PTQ_CARGO_MINIMUM} or newer: install it (Debian 12: apt-get "
      "install cargo-web) or configure with -DPTQ_TEXT=OFF (calibration then takes token ids only)"
  )
endif()

set(ptq_ffi_source "${PROJECT_SOURCE_DIR}/src/text/ffi")
set(ptq_ffi_copy "${PTQ_CARGO_DIR}/source")
set(ptq_ffi_target_dir "${PTQ_CARGO_DIR}/target")
set(PTQ_TEXT_FFI_LIBRARY "${ptq_ffi_target_dir}/release/libptq_text_ffi.a")
set(ptq_ffi_manifest "${ptq_ffi_source}/Cargo.toml")
set(ptq_ffi_lock "${ptq_ffi_source}/crates.lock")
set(ptq_ffi_files boundary.rs chat.rs lib.rs memory.rs parquet.rs screen.rs template.rs tokenizer.rs unpack.rs)
list(TRANSFORM ptq_ffi_files PREPEND "${ptq_ffi_source}/src/")

# Panics name source files: without directories of this machine, the bytes are the same on others.
if(DEFINED ENV{CARGO_HOME})
  set(ptq_cargo_home "$ENV{CARGO_HOME}")
else()
  set(ptq_cargo_home "$ENV{HOME}/.cargo")
endif()
set(PTQ_CARGO_PATHS
    --config
    "build.rustflags=['--remap-path-prefix=${ptq_cargo_home}=/cargo', '--remap-path-prefix=${ptq_ffi_copy}=/text_ffi']"
    CACHE INTERNAL "For every call of cargo that compiles"
)

# The crate is built from a copy, because cargo wants Cargo.lock beside Cargo.toml; it is made of
# crates.lock. An argument for a machine's linker or a sanitizer in RUSTFLAGS or CFLAGS is honoured by
# cargo itself (RUSTFLAGS in place of the flags above).
add_custom_command(
  OUTPUT "${PTQ_TEXT_FFI_LIBRARY}"
  COMMAND ${CMAKE_COMMAND} -E make_directory "${ptq_ffi_copy}/src"
  COMMAND ${CMAKE_COMMAND} -E copy_if_different "${ptq_ffi_manifest}" "${ptq_ffi_copy}"
  COMMAND ${CMAKE_COMMAND} -E copy_if_different ${ptq_ffi_files} "${ptq_ffi_copy}/src"
  COMMAND
    ${CMAKE_COMMAND} -D "CARGO=${PTQ_CARGO}" -D "LOCK=${ptq_ffi_lock}" -D "CRATE=${ptq_ffi_copy}" -D
    "FLAGS=${PTQ_CARGO_FLAGS}" -P "${PROJECT_SOURCE_DIR}/cmake/CratesLock.cmake"
  COMMAND
    ${CMAKE_COMMAND} -E env "CARGO_TARGET_DIR=${ptq_ffi_target_dir}" "${PTQ_CARGO}" build --release
    --quiet --locked --manifest-path "${ptq_ffi_copy}/Cargo.toml" ${PTQ_CARGO_PATHS}
    ${PTQ_CARGO_FLAGS}
  # cargo leaves an unchanged library alone; without this it would be built again and again.
  COMMAND ${CMAKE_COMMAND} -E touch "${PTQ_TEXT_FFI_LIBRARY}"
  DEPENDS "${ptq_ffi_manifest}" "${ptq_ffi_lock}" ${ptq_ffi_files}
  COMMENT "Building the tokenizer library with cargo"
  VERBATIM
)
add_custom_target(ptq_text_ffi_build DEPENDS "${PTQ_TEXT_FFI_LIBRARY}")

add_library(ptq_text_ffi STATIC IMPORTED GLOBAL)
add_dependencies(ptq_text_ffi ptq_text_ffi_build)
set_target_properties(
  ptq_text_ffi
  PROPERTIES IMPORTED_LOCATION "${PTQ_TEXT_FFI_LIBRARY}"
             INTERFACE_INCLUDE_DIRECTORIES "${ptq_ffi_source}"
             INTERFACE_LINK_LIBRARIES "Threads::Threads;${CMAKE_DL_LIBS};m;$<IF:$<BOOL:${PTQ_STATIC_LIBRARIES}>,gcc_eh,gcc_s>"
)
