//! Tokenizer functions of the C ABI.

use crate::boundary::{guard, slice, utf8, Buffer, Fallible, Ids};
use crate::memory::within;
use serde_json::{json, Value};
use std::ffi::c_char;
use std::panic::{catch_unwind, AssertUnwindSafe};
use tokenizers::utils::truncation::{truncate_encodings, TruncationParams};
use tokenizers::{Encoding, PostProcessor, Tokenizer};

/// Bytes that encoding a text may hold: a normalizer may turn each character into many, those into
/// many more.
fn memory_for(text: &str) -> usize {
    (1 << 28) + 512 * text.len()
}

fn read(json: &str) -> Fallible<Tokenizer> {
    let mut tokenizer = json.parse::<Tokenizer>().or_else(|error| match with_pairs(json) {
        Some(repaired) => repaired.parse(),
        None => Err(error),
    })?;
    // Lengths are the caller's business: calibration neither pads nor silently shortens.
    tokenizer.with_truncation(None)?;
    tokenizer.with_padding(None);
    Ok(tokenizer)
}

/// Merges written as "left right" cannot be read when a token holds a space itself, as in Llama 2
/// files whose no-break spaces became plain ones. The vocabulary tells where to cut: left, right
/// and their union are tokens. Gives the same file with ["left", "right"], or nothing when that
/// is not what is wrong with it.
fn with_pairs(json: &str) -> Option<String> {
    let mut file: Value = serde_json::from_str(json).ok()?;
    let model = file.get_mut("model")?.as_object_mut()?;
    let merges = model.get("merges")?.as_array()?.clone();
    let vocab = model.get("vocab")?.as_object()?;
    let cut = |merge: &Value| -> Option<Value> {
        let text = merge.as_str()?;
        let mut cuts = text.match_indices(' ').map(|(at, _)| (&text[..at], &text[at + 1..]));
        let known = |(left, right): &(&str, &str)| {
            let union = format!("{left}{right}");
            [left, right, &union.as_str()].iter().all(|token| vocab.contains_key(**token))
        };
        cuts.find(known).map(|(left, right)| json!([left, right]))
    };
    let pairs = merges.iter().map(cut).collect::<Option<Vec<Value>>>()?;
    model.insert("merges".into(), Value::Array(pairs));
    serde_json::to_string(&file).ok()
}

/// Two texts as the post-processor joins them. What is longer than `limit` tokens loses tokens at
/// the end of the longer text.
fn encode_pair(tokenizer: &Tokenizer, texts: [&str; 2], limit: usize) -> Fallible<Encoding> {
    let first = tokenizer.encode_fast(texts[0], false)?;
    let mut second = tokenizer.encode_fast(texts[1], false)?;
    second.set_type_ids(vec![1; second.len()]);
    let added = tokenizer.get_post_processor().map_or(0, |processor| processor.added_tokens(true));
    let limits =
        TruncationParams { max_length: limit.saturating_sub(added), ..Default::default() };
    let (first, second) = truncate_encodings(first, Some(second), &limits)?;
    Ok(tokenizer.post_process(first, second, true)?)
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
        let text = utf8(text, size)?;
        let encode = || (*tokenizer).encode_fast(text, add_special_tokens != 0);
        let encoding = within("the tokenizer", memory_for(text), encode)?;
        *ids = Ids::from_ids(encoding.get_ids());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_tokenizer_encode_pair(
    tokenizer: *const Tokenizer,
    first: *const c_char,
    first_size: usize,
    second: *const c_char,
    second_size: usize,
    limit: usize,
    ids: *mut Ids,
    types: *mut Ids,
) -> *mut c_char {
    guard(|| {
        let texts = [utf8(first, first_size)?, utf8(second, second_size)?];
        let memory = memory_for(texts[0]) + memory_for(texts[1]);
        let encode = || encode_pair(&*tokenizer, texts, limit);
        let encoding = within("the tokenizer", memory, encode)?;
        *ids = Ids::from_ids(encoding.get_ids());
        *types = Ids::from_ids(encoding.get_type_ids());
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
    use super::{encode_pair, read};

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
    fn merges_of_tokens_with_spaces_are_cut_by_the_vocabulary() {
        let json = r#"{"version": "1.0", "added_tokens": [], "model": {"type": "BPE",
            "vocab": {"a": 0, " ": 1, "  ": 2, "a ": 3}, "merges": ["   ", "a  "]}}"#;
        let tokenizer = read(json).unwrap();
        assert_eq!(tokenizer.encode_fast("  a ", false).unwrap().get_ids(), [2, 3]);
    }

    #[test]
    fn a_pair_is_joined_as_the_template_says() {
        let template = r#""post_processor": {"type": "BertProcessing", "sep": ["?", 0],
            "cls": ["b", 2]}"#;
        let words = WORDS.replace(r#""post_processor": null"#, template);
        let tokenizer = read(&words).unwrap();
        let pair = encode_pair(&tokenizer, ["a a a a", "b b"], 9).unwrap();
        assert_eq!(pair.get_ids(), [2, 1, 1, 1, 1, 0, 2, 2, 0]);
        assert_eq!(pair.get_type_ids(), [0, 0, 0, 0, 0, 0, 1, 1, 1]);
        let cut = encode_pair(&tokenizer, ["a a a a", "b b"], 7).unwrap();
        assert_eq!(cut.get_ids(), [2, 1, 1, 0, 2, 2, 0]);
        let plain = encode_pair(&read(WORDS).unwrap(), ["a a", "b"], 9).unwrap();
        assert_eq!((plain.get_ids(), plain.get_type_ids()), (&[1, 1, 2][..], &[0, 0, 1][..]));
    }

    #[test]
    fn a_broken_file_is_an_error() {
        assert!(read("{}").is_err());
    }
}
