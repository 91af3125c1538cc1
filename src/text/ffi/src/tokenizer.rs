//! Tokenizer functions of the C ABI.

use crate::boundary::{guard, slice, utf8, Buffer, Fallible, Ids};
use std::ffi::c_char;
use std::panic::{catch_unwind, AssertUnwindSafe};
use tokenizers::Tokenizer;

fn read(json: &str) -> Fallible<Tokenizer> {
    let mut tokenizer: Tokenizer = json.parse()?;
    // Lengths are the caller's business: calibration neither pads nor silently shortens.
    tokenizer.with_truncation(None)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_tokenizer_create(
    json: *const c_char,
    size: usize,
    tokenizer: *mut *mut Tokenizer,
) -> *mut c_char {
    guard(|| {
        *tokenizer = Box::into_raw(Box::new(read(utf8(json, size)?)?));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_tokenizer_free(tokenizer: *mut Tokenizer) {
    if !tokenizer.is_null() {
        drop(Box::from_raw(tokenizer));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_tokenizer_encode(
    tokenizer: *const Tokenizer,
    text: *const c_char,
    size: usize,
    add_special_tokens: i32,
    ids: *mut Ids,
) -> *mut c_char {
    guard(|| {
        let encoding = (*tokenizer).encode_fast(utf8(text, size)?, add_special_tokens != 0)?;
        *ids = Ids::from_ids(encoding.get_ids());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_tokenizer_decode(
    tokenizer: *const Tokenizer,
    ids: *const i64,
    count: usize,
    skip_special_tokens: i32,
    text: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        let narrow: Vec<u32> = slice(ids, count)
            .iter()
            .map(|&id| u32::try_from(id).map_err(|_| format!("{id} is not a token id")))
            .collect::<Result<_, _>>()?;
        *text = Buffer::from_string((*tokenizer).decode(&narrow, skip_special_tokens != 0)?);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_tokenizer_vocab_size(tokenizer: *const Tokenizer) -> usize {
    catch_unwind(AssertUnwindSafe(|| (*tokenizer).get_vocab_size(true))).unwrap_or(0)
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_tokenizer_token_to_id(
    tokenizer: *const Tokenizer,
    token: *const c_char,
    size: usize,
) -> i64 {
    catch_unwind(AssertUnwindSafe(|| {
        let token = utf8(token, size).ok()?;
        (*tokenizer).token_to_id(token).map(i64::from)
    }))
    .ok()
    .flatten()
    .unwrap_or(-1)
}

#[cfg(test)]
mod tests {
    use super::read;

    const WORDS: &str = r#"{
        "version": "1.0",
        "truncation": {"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
                    "pad_id": 0, "pad_type_id": 0, "pad_token": "?"},
        "added_tokens": [], "normalizer": null, "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"?": 0, "a": 1, "b": 2}, "unk_token": "?"}}"#;

    #[test]
    fn truncation_and_padding_are_ignored() {
        let tokenizer = read(WORDS).unwrap();
        assert_eq!(tokenizer.encode_fast("b a c", true).unwrap().get_ids(), [2, 1, 0]);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        assert!(read("{}").is_err());
    }
}
