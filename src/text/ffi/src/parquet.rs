//! Parquet files as lines of JSON, one object a row, read row group by row group.

use crate::boundary::{guard, slice, utf8, Buffer, Fallible};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{json, Map, Value};
use std::ffi::{c_char, OsStr};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;

/// Rows whose values are decoded at a time: texts may be long.
const BATCH: usize = 64;

pub struct Table {
    reader: Option<SerializedFileReader<File>>,
    columns: Vec<String>,
    rows: i64,
    chosen: Option<RowIter<'static>>,
}

impl Table {
    fn open(path: &[u8]) -> Fallible<Self> {
        let reader = SerializedFileReader::new(File::open(OsStr::from_bytes(path))?)?;
        let about = reader.metadata().file_metadata();
        let fields = about.schema_descr().root_schema().get_fields();
        let columns = fields.iter().map(|field| field.name().to_string()).collect();
        let rows = about.num_rows();
        Ok(Table { reader: Some(reader), columns, rows, chosen: None })
    }

    /// Columns that are not named are not read at all.
    fn select(&mut self, names: &[String]) -> Fallible<()> {
        let reader = self.reader.take().ok_or("the columns are chosen already")?;
        let root = reader.metadata().file_metadata().schema_descr().root_schema();
        let fields = root.get_fields().iter().filter(|f| names.iter().any(|n| n == f.name()));
        let projection =
            Type::group_type_builder(root.name()).with_fields(fields.cloned().collect()).build()?;
        let rows = RowIter::from_file_into(Box::new(reader)).project(Some(projection))?;
        self.chosen = Some(rows.with_batch_size(BATCH));
        Ok(())
    }

    /// Empty at the end.
    fn next(&mut self, limit: usize) -> Fallible<String> {
        let rows = self.chosen.as_mut().ok_or("no columns are chosen")?;
        let mut lines = String::new();
        while lines.len() < limit {
            let Some(row) = rows.next() else { break };
            lines.push_str(&serde_json::to_string(&object(&row?))?);
            lines.push('\n');
        }
        Ok(lines)
    }
}

fn object(row: &Row) -> Value {
    let fields = row.get_column_iter().map(|(name, field)| (name.clone(), value(field)));
    Value::Object(fields.collect::<Map<String, Value>>())
}

/// Strings without their annotation, as old writers leave them, are strings.
fn value(field: &Field) -> Value {
    match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Byte(value) => json!(value),
        Field::Short(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::UByte(value) => json!(value),
        Field::UShort(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::ULong(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Double(value) => json!(value),
        Field::Str(value) => json!(value),
        Field::Bytes(value) => std::str::from_utf8(value.data()).map_or(Value::Null, |s| json!(s)),
        Field::Group(row) => object(row),
        Field::ListInternal(list) => Value::Array(list.elements().iter().map(value).collect()),
        Field::MapInternal(map) => {
            let entries = map.entries().iter().map(|(key, item)| (key_text(key), value(item)));
            Value::Object(entries.collect())
        }
        other => json!(other.to_string()),
    }
}

fn key_text(key: &Field) -> String {
    match key {
        Field::Str(text) => text.clone(),
        other => other.to_string(),
    }
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_parquet_open(
    path: *const c_char,
    size: usize,
    table: *mut *mut Table,
) -> *mut c_char {
    guard(|| {
        *table = Box::into_raw(Box::new(Table::open(slice(path.cast::<u8>(), size))?));
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_parquet_free(table: *mut Table) {
    if !table.is_null() {
        drop(Box::from_raw(table));
    }
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_parquet_describe(
    table: *const Table,
    description: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        let text = json!({"rows": (*table).rows, "columns": (*table).columns}).to_string();
        *description = Buffer::from_string(text);
        Ok(())
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_parquet_select(
    table: *mut Table,
    names: *const c_char,
    size: usize,
) -> *mut c_char {
    guard(|| {
        let names: Vec<String> = serde_json::from_str(utf8(names, size)?)?;
        (*table).select(&names)
    })
}

#[no_mangle]
pub unsafe extern "C" fn ptq_text_parquet_next(
    table: *mut Table,
    limit: usize,
    lines: *mut Buffer,
) -> *mut c_char {
    guard(|| {
        *lines = Buffer::from_string((*table).next(limit)?);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::{value, Table};
    use parquet::record::Field;

    #[test]
    fn what_is_no_parquet_file_is_an_error() {
        assert!(Table::open(b"/dev/null").is_err());
        assert!(Table::open(b"/no/such/file").is_err());
    }

    #[test]
    fn bytes_that_are_text_become_text() {
        assert_eq!(value(&Field::Bytes(b"abc".to_vec().into())), "abc");
        assert!(value(&Field::Bytes(vec![0xFF].into())).is_null());
    }
}
