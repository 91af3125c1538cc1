// C ABI of the static library `ptq_text_ffi`, written in Rust: tokenizers, chat templates, Parquet
// tables, Zstandard, and what screens texts.
//
// Only src/text includes this file. Conventions:
//   * A function that can fail returns NULL when it succeeded, else an error message that the
//     caller releases with ptq_text_error_free(). Out parameters are written only on success.
//   * Text is UTF-8 given as pointer and byte count; it need not end with a zero byte.
//   * No panic crosses the boundary: it is returned as an error.
//   * Every function may be called from several threads at once; a tokenizer is immutable.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Names of C.
// NOLINTBEGIN(readability-identifier-naming)
typedef struct ptq_text_tokenizer ptq_text_tokenizer;
typedef struct ptq_text_parquet ptq_text_parquet;
typedef struct ptq_text_pattern ptq_text_pattern;

// Bytes owned by the library; release with ptq_text_buffer_free().
typedef struct ptq_text_buffer {
  char* data;
  size_t size;
} ptq_text_buffer;

// Token ids owned by the library; release with ptq_text_ids_free().
typedef struct ptq_text_ids {
  int64_t* data;
  size_t size;
} ptq_text_ids;
// NOLINTEND(readability-identifier-naming)

// Reads the contents of a tokenizer.json. Truncation and padding set in it are ignored.
char* ptq_text_tokenizer_create(const char* json, size_t size, ptq_text_tokenizer** tokenizer);
void ptq_text_tokenizer_free(ptq_text_tokenizer* tokenizer);

// Token ids of `text`; with `add_special_tokens` != 0 as the post-processor adds them.
char* ptq_text_tokenizer_encode(const ptq_text_tokenizer* tokenizer, const char* text, size_t size,
                                int32_t add_special_tokens, ptq_text_ids* ids);
// Token ids of two texts with special tokens, as the post-processor joins them, and to which of the
// two each belongs. Both are cut, the longer first, so that there are at most `limit` tokens.
char* ptq_text_tokenizer_encode_pair(const ptq_text_tokenizer* tokenizer, const char* first,
                                     size_t first_size, const char* second, size_t second_size,
                                     size_t limit, ptq_text_ids* ids, ptq_text_ids* types);
char* ptq_text_tokenizer_decode(const ptq_text_tokenizer* tokenizer, const int64_t* ids,
                                size_t count, int32_t skip_special_tokens, ptq_text_buffer* text);

// Number of tokens, added ones included.
size_t ptq_text_tokenizer_vocab_size(const ptq_text_tokenizer* tokenizer);
// The id of one token, or -1 if the vocabulary does not have it.
int64_t ptq_text_tokenizer_token_to_id(const ptq_text_tokenizer* tokenizer, const char* token,
                                       size_t size);

// Renders a chat template as transformers' apply_chat_template does. `context` is a JSON object
// with every variable (messages, add_generation_prompt, bos_token, ...). `now` is the time, in
// seconds since 1970 in UTC, that strftime_now() sees: the caller decides, so that results can
// be reproduced.
char* ptq_text_render_chat(const char* chat_template, size_t template_size, const char* context,
                           size_t context_size, int64_t now, ptq_text_buffer* text);

// Opens a Parquet file; the path's bytes need not be UTF-8. A table is used by one thread at a
// time.
char* ptq_text_parquet_open(const char* path, size_t size, ptq_text_parquet** table);
void ptq_text_parquet_free(ptq_text_parquet* table);
// {"rows": N, "columns": ["name", ...]}: the columns of the first level.
char* ptq_text_parquet_describe(const ptq_text_parquet* table, ptq_text_buffer* description);
// Chooses the columns that are read, a JSON array of names; once, before the first row.
char* ptq_text_parquet_select(ptq_text_parquet* table, const char* names, size_t size);
// The next rows, each a JSON object on a line of its own: at least one, and more until there are
// `limit` bytes; nothing at the end. Rows are decoded as they are asked for, whatever the file's
// size.
char* ptq_text_parquet_next(ptq_text_parquet* table, size_t limit, ptq_text_buffer* lines);

// Unpacks Zstandard frames, one behind the other. More than `most` bytes are an error.
char* ptq_text_unpack_zstd(const char* data, size_t size, uint64_t most, ptq_text_buffer* bytes);

// The code (ISO 639-3) of a language that is named by it or by that of ISO 639-1; an error for one
// that cannot be detected.
char* ptq_text_language_code(const char* name, size_t size, ptq_text_buffer* code);
// The code of the language that a text is most likely in; empty when nothing tells.
char* ptq_text_detect_language(const char* text, size_t size, ptq_text_buffer* code);
// The text with <SECRET> for keys, tokens and passwords of known forms and <EMAIL> for addresses,
// and how many there were.
char* ptq_text_mask(const char* text, size_t size, ptq_text_buffer* masked, int64_t* count);
// A regular expression as the regex crate has them; ^ and $ match at lines. Immutable. The text
// need not be UTF-8.
char* ptq_text_pattern_create(const char* form, size_t size, ptq_text_pattern** pattern);
void ptq_text_pattern_free(ptq_text_pattern* pattern);
char* ptq_text_pattern_matches(const ptq_text_pattern* pattern, const char* text, size_t size,
                               int32_t* matches);

// Renders the template `name` of `templates`, a JSON object of sources by name, with the JSON
// object `context`. Templates may include each other; what one whose name ends in ".html" prints is
// escaped.
char* ptq_text_render_template(const char* templates, size_t templates_size, const char* name,
                               size_t name_size, const char* context, size_t context_size,
                               ptq_text_buffer* text);

// Versions of the crates, for example "0.23.2". Static; not to be released.
const char* ptq_text_tokenizers_version(void);
const char* ptq_text_minijinja_version(void);

void ptq_text_error_free(char* error);
void ptq_text_buffer_free(ptq_text_buffer buffer);
void ptq_text_ids_free(ptq_text_ids ids);

#ifdef __cplusplus
}
#endif
