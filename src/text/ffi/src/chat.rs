//! Chat templates, rendered as transformers' `apply_chat_template` renders them with Jinja2.

use crate::boundary::{guard, utf8, Buffer, Fallible};
use crate::memory::on_deep_stack;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::{Environment, Error, ErrorKind, Value};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde::Serialize;
use serde_json::ser::{Formatter, PrettyFormatter, Serializer};
use std::error::Error as _;
use std::ffi::{c_char, CString};
use std::io;

/// More instructions than any honest template needs; stops endless ones.
const FUEL: u64 = 5_000_000;

/// Bytes that rendering one conversation may hold.
const MEMORY: usize = 1 << 28;

fn render(template: &str, context: &str, now: i64) -> Fallible<String> {
    on_deep_stack("the chat template", template.len(), MEMORY + 8 * context.len(), || {
        render_here(template, context, now)
    })
}

fn render_here(template: &str, context: &str, now: i64) -> Fallible<String> {
    let context: Value = serde_json::from_str(context)?;
    let source = plain_generation_tags(template);
    let environment = environment(now)?;
    let rendered = environment
        .template_from_named_str("chat_template", &source)
        .and_then(|compiled| compiled.render(context));
    rendered.map_err(|error| describe(&error).into())
}

fn environment(now: i64) -> Fallible<Environment<'static>> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("tojson", to_json);
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: String| strftime(&format, now));
    Ok(environment)
}

/// `{% generation %}` marks the assistant's text for training masks and changes nothing else, so
/// it is rendered as a block that is always taken. Whitespace marks (`-`, `+`) are kept.
fn plain_generation_tags(template: &str) -> String {
    let mut result = String::with_capacity(template.len());
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else { break };
        let inside = &rest[start + 2..start + length];
        let name = inside.trim_matches(|c: char| c.is_whitespace() || c == '-' || c == '+');
        result.push_str(&rest[..start + 2]);
        result.push_str(&match name {
            "generation" => inside.replace("generation", "if true"),
            "endgeneration" => inside.replace("endgeneration", "endif"),
            _ => inside.to_string(),
        });
        result.push_str("%}");
        rest = &rest[start + length + 2..];
    }
    result + rest
}

/// One line: what the template said, then the reasons below it.
pub fn describe(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(reason) = source {
        text.push_str(": ");
        text.push_str(&reason.to_string());
        source = reason.source();
    }
    text
}

/// `json.dumps(value, ensure_ascii=False)` with an optional `indent`, as transformers defines the
/// filter; unlike Jinja's own it does not escape HTML.
fn to_json(value: &Value, indent: Option<usize>, options: Kwargs) -> Result<Value, Error> {
    let indent = match indent {
        Some(width) => Some(width),
        None => options.get::<Option<usize>>("indent")?,
    };
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let failed = |error: serde_json::Error| {
        Error::new(ErrorKind::InvalidOperation, format!("tojson: {error}"))
    };
    let mut tree = serde_json::to_value(value).map_err(failed)?;
    if sort {
        tree.sort_all_objects();
    }
    let text = match indent {
        Some(width) => {
            write_json(&tree, PrettyFormatter::with_indent(" ".repeat(width).as_bytes()))
        }
        None => write_json(&tree, PythonFormatter),
    }
    .map_err(failed)?;
    Ok(Value::from_safe_string(if ascii { escape_non_ascii(&text) } else { text }))
}

fn write_json(tree: &serde_json::Value, style: impl Formatter) -> serde_json::Result<String> {
    let mut bytes = Vec::new();
    tree.serialize(&mut Serializer::with_formatter(&mut bytes, style))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn escape_non_ascii(text: &str) -> String {
    let mut units = [0u16; 2];
    let mut result = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            result.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut units) {
            result.push_str(&format!("\\u{unit:04x}"));
        }
    }
    result
}

/// Python's separators: ", " between items and ": " after keys, all on one line.
struct PythonFormatter;

impl PythonFormatter {
    fn separator<W: ?Sized + io::Write>(writer: &mut W, first: bool) -> io::Result<()> {
        if first {
            return Ok(());
        }
        writer.write_all(b", ")
    }
}

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        Self::separator(w, first)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        w: &mut W,
        first: bool,
    ) -> io::Result<()> {
        Self::separator(w, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }
}

/// C's `strftime` in UTC; results longer than 4 KiB or an empty format give "".
fn strftime(format: &str, now: i64) -> Result<String, Error> {
    let format = CString::new(format).map_err(|_| {
        Error::new(ErrorKind::InvalidOperation, "strftime_now: zero byte in format")
    })?;
    let mut buffer = vec![0u8; 4096];
    // SAFETY: `time` is a plain C struct for which zero is a valid value, and strftime writes at
    // most the buffer's size.
    let written = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        let seconds = now as libc::time_t;
        if libc::gmtime_r(&seconds, &mut time).is_null() {
            return Err(Error::new(ErrorKind::InvalidOperation, "strftime_now: time out of range"));
        }
        libc::strftime(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), &time)
    };
    buffer.truncate(written);
    Ok(String::from_utf8_lossy(&buffer).into_owned())
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_render_chat(
    chat_template: *const c_char,
    template_size: usize,
    context: *const c_char,
    context_size: usize,
    now: i64,
    text: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        let template = utf8(chat_template, template_size)?;
        let rendered = render(template, utf8(context, context_size)?, now)?;
        *text = Buffer::from_string(rendered);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::render;

    const CONTEXT: &str = r#"{"messages": [{"role": "user", "content": "a<b>é"}], "bos": "<s>"}"#;

    fn text(template: &str) -> String {
        render(template, CONTEXT, 1_722_000_000).unwrap()
    }

    #[test]
    fn blocks_are_trimmed_and_nothing_is_escaped() {
        let template = "{{ bos }}\n  {% for m in messages %}\n[{{ m['role'].upper() }}] {{ m.content.strip() }}\n  {% endfor %}\n";
        assert_eq!(text(template), "<s>\n[USER] a<b>é\n");
    }

    #[test]
    fn tojson_writes_what_python_writes() {
        assert_eq!(text("{{ messages | tojson }}"), r#"[{"role": "user", "content": "a<b>é"}]"#);
        assert_eq!(text("{{ {'é': 1} | tojson(ensure_ascii=true) }}"), "{\"\\u00e9\": 1}");
        assert_eq!(text("{{ [1, []] | tojson(indent=2) }}"), "[\n  1,\n  []\n]");
    }

    #[test]
    fn time_is_the_callers() {
        assert_eq!(text("{{ strftime_now('%d %b %Y') }}"), "26 Jul 2024");
    }

    #[test]
    fn generation_blocks_are_transparent() {
        assert_eq!(text("a{% generation %}b{%- endgeneration -%} c"), "abc");
    }

    #[test]
    fn raise_exception_reports_its_message() {
        let error = render("{{ raise_exception('roles must alternate') }}", "{}", 0).unwrap_err();
        assert!(error.to_string().contains("roles must alternate"), "{error}");
    }

    #[test]
    fn endless_templates_stop() {
        let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% set c = a %}{% endfor %}{% endfor %}";
        assert!(render(loops, "{}", 0).is_err());
    }
}
