//! Unpacks Zstandard; the library is here for Parquet anyway.

use crate::boundary::{guard, slice, Buffer, Fallible};
use std::ffi::c_char;
use std::io::Read;

/// Every frame, one behind the other. Bytes need not be text.
fn unpack(packed: &[u8], most: u64) -> Fallible<Vec<u8>> {
    let mut bytes = Vec::new();
    zstd::Decoder::new(packed)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err("it unpacks to more than is read".into());
    }
    Ok(bytes)
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_unpack_zstd(
    data: *const c_char,
    size: usize,
    most: u64,
    bytes: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        *bytes = Buffer::from_bytes(unpack(slice(data.cast::<u8>(), size), most)?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::unpack;

    #[test]
    fn frames_follow_each_other_up_to_a_limit() {
        let frame = zstd::encode_all(&b"abc"[..], 1).unwrap();
        let two = [frame.clone(), frame.clone()].concat();
        assert_eq!(unpack(&two, 6).unwrap(), b"abcabc");
        assert!(unpack(&two, 5).is_err());
        assert!(unpack(&frame[..frame.len() - 1], 9).is_err());
    }
}
