//! What may cross the C boundary: slices in, owned buffers and error messages out, never a panic.

use std::any::Any;
use std::error::Error;
use std::ffi::{c_char, CString};
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::ptr;
use std::sync::Once;

pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[repr(C)]
pub struct Buffer {
    data: *mut c_char,
    size: usize,
}

#[repr(C)]
pub struct Ids {
    data: *mut i64,
    size: usize,
}

impl Buffer {
    pub fn from_string(text: String) -> Self {
        Self::from_bytes(text.into_bytes())
    }

    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        let bytes = Box::leak(bytes.into_boxed_slice());
        Buffer { size: bytes.len(), data: bytes.as_mut_ptr().cast() }
    }
}

impl Ids {
    pub fn from_ids(ids: &[u32]) -> Self {
        let wide: Box<[i64]> = ids.iter().map(|&id| i64::from(id)).collect();
        let wide = Box::leak(wide);
        Ids { size: wide.len(), data: wide.as_mut_ptr() }
    }
}

/// # Safety
/// `data` points to `size` readable elements that live as long as the result, or `size` is 0.
pub unsafe fn slice<'a, T>(data: *const T, size: usize) -> &'a [T] {
    if size == 0 || data.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(data, size)
}

/// # Safety
/// As for [`slice`].
pub unsafe fn utf8<'a>(data: *const c_char, size: usize) -> Fallible<&'a str> {
    let bytes = slice(data.cast::<u8>(), size);
    std::str::from_utf8(bytes)
        .map_err(|error| format!("invalid UTF-8 at byte {}", error.valid_up_to()).into())
}

/// Runs `body`; a returned error or a panic becomes an owned message, success becomes NULL.
pub fn guard(body: impl FnOnce() -> Fallible<()>) -> *mut c_char {
    quiet_panics();
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ptr::null_mut(),
        Ok(Err(error)) => message(&error.to_string()),
        Err(panic) => message(&format!("internal error: {}", panic_text(panic.as_ref()))),
    }
}

fn message(text: &str) -> *mut c_char {
    let text = text.replace('\0', " ");
    CString::new(text).unwrap_or_default().into_raw()
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return text;
    }
    panic.downcast_ref::<String>().map_or("panic without a message", String::as_str)
}

/// The default hook prints to stderr; here the message goes to the caller instead.
fn quiet_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| std::panic::set_hook(Box::new(|_| {})));
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_error_free(error: *mut c_char) {
    if !error.is_null() {
        drop(CString::from_raw(error));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_buffer_free(buffer: Buffer) {
    if !buffer.data.is_null() {
        let bytes = ptr::slice_from_raw_parts_mut(buffer.data.cast::<u8>(), buffer.size);
        drop(Box::from_raw(bytes));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_ids_free(ids: Ids) {
    if !ids.data.is_null() {
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut(ids.data, ids.size)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;

    fn text_of(error: *mut c_char) -> String {
        let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
        unsafe { ptq_text_error_free(error) };
        text
    }

    #[test]
    fn a_panic_becomes_an_error_message() {
        assert_eq!(text_of(guard(|| panic!("boom {}", 7))), "internal error: boom 7");
    }

    #[test]
    fn success_is_null_and_failure_is_text() {
        assert!(guard(|| Ok(())).is_null());
        assert_eq!(text_of(guard(|| Err("no\0pe".into()))), "no pe");
    }

    #[test]
    fn invalid_utf8_tells_the_byte() {
        let bytes = b"ab\xff";
        let error = unsafe { utf8(bytes.as_ptr().cast(), bytes.len()) }.unwrap_err();
        assert_eq!(error.to_string(), "invalid UTF-8 at byte 2");
    }
}
