//! What tells whether a text is wanted, and what of it nobody else should see: languages, regular
//! expressions, secrets and addresses.

use crate::boundary::{guard, slice, utf8, Buffer, Fallible};
use regex::bytes;
use regex::Regex;
use std::ffi::c_char;
use std::sync::OnceLock;
use whatlang::Lang;

/// ISO 639-1 of what whatlang names by ISO 639-3; other languages have no shorter code.
const SHORT_CODES: &[(&str, &str)] = &[
    ("af", "afr"), ("ak", "aka"), ("am", "amh"), ("ar", "ara"), ("az", "aze"), ("be", "bel"),
    ("bg", "bul"), ("bn", "ben"), ("ca", "cat"), ("cs", "ces"), ("cy", "cym"), ("da", "dan"),
    ("de", "deu"), ("el", "ell"), ("en", "eng"), ("eo", "epo"), ("es", "spa"), ("et", "est"),
    ("fa", "pes"), ("fi", "fin"), ("fr", "fra"), ("gu", "guj"), ("he", "heb"), ("hi", "hin"),
    ("hr", "hrv"), ("hu", "hun"), ("hy", "hye"), ("id", "ind"), ("it", "ita"), ("ja", "jpn"),
    ("jv", "jav"), ("ka", "kat"), ("km", "khm"), ("kn", "kan"), ("ko", "kor"), ("la", "lat"),
    ("lt", "lit"), ("lv", "lav"), ("mk", "mkd"), ("ml", "mal"), ("mr", "mar"), ("my", "mya"),
    ("nb", "nob"), ("ne", "nep"), ("nl", "nld"), ("no", "nob"), ("or", "ori"), ("pa", "pan"),
    ("pl", "pol"), ("pt", "por"), ("ro", "ron"), ("ru", "rus"), ("si", "sin"), ("sk", "slk"),
    ("sl", "slv"), ("sn", "sna"), ("sr", "srp"), ("sv", "swe"), ("ta", "tam"), ("te", "tel"),
    ("th", "tha"), ("tk", "tuk"), ("tl", "tgl"), ("tr", "tur"), ("uk", "ukr"), ("ur", "urd"),
    ("uz", "uzb"), ("vi", "vie"), ("yi", "yid"), ("zh", "cmn"), ("zu", "zul"),
];

/// The code that `detect` gives for a language that a user names by either.
fn code_of(name: &str) -> Fallible<&'static str> {
    let lower = name.to_lowercase();
    let long = SHORT_CODES.iter().find(|(short, _)| *short == lower).map_or(&lower[..], |c| c.1);
    match Lang::from_code(long) {
        Some(lang) => Ok(lang.code()),
        None => Err(format!("'{name}' is no language that can be told apart").into()),
    }
}

fn detect(text: &str) -> &'static str {
    whatlang::detect_lang(text).map_or("", |lang| lang.code())
}

/// What is masked, and by what. The forms are those that the services publish, and those that
/// scanners for secrets agree on. A word in front of a value is kept.
const MASKS: &[(&str, &str)] = &[
    (r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", "<SECRET>"),
    (r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*", "<SECRET>"),
    (r"\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}\b", "<SECRET>"),
    (r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[A-Za-z0-9_-]{20,}", "<SECRET>"),
    (r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}", "<SECRET>"),
    (r"\bhf_[A-Za-z0-9]{30,}|\bnpm_[A-Za-z0-9]{36}|\bpypi-[A-Za-z0-9_-]{50,}", "<SECRET>"),
    (r"\bAIza[A-Za-z0-9_-]{35}", "<SECRET>"),
    (r"\b(?:sk|pk|rk)[-_](?:live|test|proj|ant|or)[-_][A-Za-z0-9_-]{16,}|\bsk-[A-Za-z0-9]{32,}", "<SECRET>"),
    (r"\bSG\.[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{20,}", "<SECRET>"),
    (r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/_.~-]{16,}=*", "${1} <SECRET>"),
    (r"://[^\s:/@]+:[^\s@/]+@", "://<SECRET>@"),
    (
        r#"(?i)\b((?:[a-z0-9]+[-_.])*(?:password|passwd|pwd|secret|token|api[-_]?key|apikey|access[-_]?key|auth[-_]?key|client[-_]?secret|private[-_]?key)["']?\s*(?:=|:|=>)\s*["']?)[^\s"',;&<>]{6,}"#,
        "${1}<SECRET>",
    ),
    (r"(?i)\b[a-z0-9][a-z0-9._%+-]*@[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*\.[a-z]{2,24}\b", "<EMAIL>"),
];

fn masks() -> &'static [(Regex, &'static str)] {
    static COMPILED: OnceLock<Vec<(Regex, &'static str)>> = OnceLock::new();
    COMPILED.get_or_init(|| {
        let compiled = MASKS.iter().map(|(form, by)| (Regex::new(form).unwrap(), *by));
        compiled.collect()
    })
}

/// The text without secrets and addresses, and how many there were.
fn mask(text: &str) -> (String, i64) {
    let mut masked = text.to_string();
    let mut count = 0;
    for (form, by) in masks() {
        let found = form.find_iter(&masked).filter(|m| !m.as_str().ends_with("<SECRET>")).count();
        if found == 0 {
            continue;
        }
        count += found as i64;
        masked = form.replace_all(&masked, *by).into_owned();
    }
    (masked, count)
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_language_code(
    name: *const c_char,
    size: usize,
    code: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        *code = Buffer::from_string(code_of(utf8(name, size)?)?.to_string());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_detect_language(
    text: *const c_char,
    size: usize,
    code: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        *code = Buffer::from_string(detect(utf8(text, size)?).to_string());
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_mask(
    text: *const c_char,
    size: usize,
    masked: *mut Buffer,
    count: *mut i64,
) -> *mut c_char {
    guard(|| {
        let (text, found) = mask(utf8(text, size)?);
        *masked = Buffer::from_string(text);
        *count = found;
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_pattern_create(
    form: *const c_char,
    size: usize,
    pattern: *mut *mut bytes::Regex,
) -> *mut c_char {
    guard(|| {
        let compiled = bytes::RegexBuilder::new(utf8(form, size)?).multi_line(true).build()?;
        *pattern = Box::into_raw(Box::new(compiled));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_pattern_free(pattern: *mut bytes::Regex) {
    if !pattern.is_null() {
        drop(Box::from_raw(pattern));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_pattern_matches(
    pattern: *const bytes::Regex,
    text: *const c_char,
    size: usize,
    matches: *mut i32,
) -> *mut c_char {
    guard(|| {
        *matches = i32::from((*pattern).is_match(slice(text.cast::<u8>(), size)));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::{code_of, detect, mask, SHORT_CODES};

    #[test]
    fn languages_have_two_names() {
        assert_eq!(code_of("en").unwrap(), "eng");
        assert_eq!(code_of("DEU").unwrap(), "deu");
        assert!(code_of("xx").is_err());
        for (short, long) in SHORT_CODES {
            assert_eq!(code_of(short).unwrap(), *long);
        }
    }

    #[test]
    fn languages_are_told_apart() {
        assert_eq!(detect("The quick brown fox jumps over the lazy dog and runs away."), "eng");
        assert_eq!(detect("Der schnelle braune Fuchs springt über den faulen Hund."), "deu");
        assert_eq!(detect("今日はとても天気がいいですね。"), "jpn");
        assert_eq!(detect("12345"), "");
    }

    fn masked(text: &str) -> String {
        mask(text).0
    }

    #[test]
    fn addresses_and_secrets_are_masked() {
        assert_eq!(masked("mail jane.doe+x@mail.example.org now"), "mail <EMAIL> now");
        assert_eq!(masked("key AKIAIOSFODNN7EXAMPLE."), "key <SECRET>.");
        assert_eq!(masked("password=hunter2hunter2 ok"), "password=<SECRET> ok");
        assert_eq!(masked("\"api_key\": \"abcdef123456\""), "\"api_key\": \"<SECRET>\"");
        assert_eq!(masked("Authorization: Bearer abcdefghij0123456789=="), "Authorization: Bearer <SECRET>");
        assert_eq!(masked("https://bob:pa55w0rd@host/x"), "https://<SECRET>@host/x");
        assert_eq!(
            masked("a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b"),
            "a <SECRET> b"
        );
        let github = format!("ghp_{}", "a1B2".repeat(9));
        assert_eq!(mask(&format!("{github} and {github}")), ("<SECRET> and <SECRET>".into(), 2));
    }

    #[test]
    fn plain_text_stays() {
        for text in ["The token: a small thing", "5 @ 3 a.b", "tokens per second: 12", "me@home"] {
            assert_eq!(mask(text), (text.to_string(), 0));
        }
    }
}
