//! C ABI over the crates that read text: tokenizers, templates, tables; `ptq_text_ffi.h` documents every function.

mod boundary;
mod chat;
mod memory;
mod parquet;
mod screen;
mod template;
mod tokenizer;
mod unpack;

use std::ffi::{c_char, CString};
use std::sync::OnceLock;

/// The version that the manifest pins for a direct dependency.
fn pinned_version(name: &str) -> &'static str {
    let manifest = include_str!("../Cargo.toml");
    manifest
        .lines()
        .filter(|line| line.split('=').next().map(str::trim) == Some(name))
        .find_map(|line| line.split("\"=").nth(1)?.split('"').next())
        .unwrap_or("unknown")
}

fn version_string(cell: &'static OnceLock<CString>, name: &str) -> *const c_char {
    cell.get_or_init(|| CString::new(pinned_version(name)).unwrap_or_default()).as_ptr()
}

#[no_mangle]
pub extern "C" fn ptq_text_tokenizers_version() -> *const c_char {
    static VERSION: OnceLock<CString> = OnceLock::new();
    version_string(&VERSION, "tokenizers")
}

#[no_mangle]
pub extern "C" fn ptq_text_minijinja_version() -> *const c_char {
    static VERSION: OnceLock<CString> = OnceLock::new();
    version_string(&VERSION, "minijinja")
}

#[cfg(test)]
mod tests {
    use super::pinned_version;

    #[test]
    fn versions_come_from_the_manifest() {
        assert!(pinned_version("tokenizers").starts_with("0."));
        assert!(pinned_version("minijinja").starts_with("3."));
        assert_eq!(pinned_version("no-such-crate"), "unknown");
    }
}
