//! Templates of pages and documents that the program writes, rendered with one JSON document.

use crate::boundary::{guard, utf8, Buffer, Fallible};
use crate::chat::describe;
use crate::memory::on_deep_stack;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, UndefinedBehavior, Value};
use minijinja_contrib::filters::{filesizeformat, pluralize};
use minijinja_contrib::pycompat::unknown_method_callback;
use std::collections::BTreeMap;
use std::ffi::c_char;

/// More instructions than a page of many thousand rows needs; stops endless templates.
const FUEL: u64 = 200_000_000;
/// Bytes that a page may need beside what its document does.
const MEMORY: usize = 1 << 29;

/// `templates` is a JSON object of sources by name, of which one includes or imports others. What a
/// template whose name ends in `.html` prints is escaped. A misspelt variable is an error when it is
/// printed, and false when it is asked for.
fn render(templates: &str, name: &str, context: &str) -> Fallible<String> {
    let memory = MEMORY + 64 * context.len();
    on_deep_stack("the template", templates.len(), memory, || render_here(templates, name, context))
}

fn render_here(templates: &str, name: &str, context: &str) -> Fallible<String> {
    let templates: BTreeMap<String, String> = serde_json::from_str(templates)?;
    let context: Value = serde_json::from_str(context)?;
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_undefined_behavior(UndefinedBehavior::SemiStrict);
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("filesizeformat", filesizeformat);
    environment.add_filter("pluralize", pluralize);
    let rendered = templates
        .into_iter()
        .try_for_each(|(name, source)| environment.add_template_owned(name, source))
        .and_then(|()| environment.get_template(name)?.render(context));
    rendered.map_err(|error| describe(&error).into())
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_render_template(
    templates: *const c_char,
    templates_size: usize,
    name: *const c_char,
    name_size: usize,
    context: *const c_char,
    context_size: usize,
    text: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        let templates = utf8(templates, templates_size)?;
        let name = utf8(name, name_size)?;
        *text = Buffer::from_string(render(templates, name, utf8(context, context_size)?)?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn html_is_escaped_and_markdown_is_not() {
        let context = r#"{"name": "</script><b>&'\""}"#;
        let text = |file: &str| {
            let templates = format!(r#"{{"{file}": "{{{{ name }}}}"}}"#);
            render(&templates, file, context).unwrap()
        };
        assert_eq!(text("page.html"), "&lt;&#x2f;script&gt;&lt;b&gt;&amp;&#x27;&quot;");
        assert_eq!(text("card.md"), "</script><b>&'\"");
    }

    #[test]
    fn json_in_html_cannot_close_a_script() {
        let templates = r#"{"page.html": "<script>{{ x | tojson }}</script>"}"#;
        let page = render(templates, "page.html", r#"{"x": "</script><!--"}"#).unwrap();
        assert_eq!(page, r#"<script>"\u003c/script\u003e\u003c!--"</script>"#);
    }

    #[test]
    fn templates_include_others() {
        let templates = r#"{"a.html": "{% from 'b.html' import twice %}{{ twice(x) }}",
                            "b.html": "{% macro twice(x) %}{{ x }}{{ x }}{% endmacro %}"}"#;
        assert_eq!(render(templates, "a.html", r#"{"x": "<"}"#).unwrap(), "&lt;&lt;");
    }

    #[test]
    fn a_misspelt_variable_is_named_when_it_is_printed() {
        let ask = r#"{"a.md": "{% if nothing %}x{% endif %}"}"#;
        assert_eq!(render(ask, "a.md", "{}").unwrap(), "");
        let print = r#"{"a.md": "one\n{{ nothing }}"}"#;
        let error = render(print, "a.md", "{}").unwrap_err().to_string();
        assert!(error.contains("undefined") && error.contains("a.md:2"), "{error}");
    }
}
