//! Records as a Parquet file, and back. Plain pages without compression: a table has thousands of lines at most, and every reader
//! of Parquet reads them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::record::Field;
use parquet::schema::types::{Type, TypePtr};

use super::records::{RecordColumn, Records, Values};

/// Writes one row group; all columns are optional.
///
/// # Errors
/// Never with what is made here; the writer's own errors are passed on.
pub fn write(records: &Records) -> Result<Vec<u8>, ParquetError> {
    let fields = records.columns.iter().map(field).collect::<Result<Vec<_>, _>>()?;
    let schema = Arc::new(Type::group_type_builder("results").with_fields(fields).build()?);
    let properties = Arc::new(WriterProperties::builder().build());
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, properties)?;
    let mut group = writer.next_row_group()?;
    for column in &records.columns {
        match &column.values {
            Values::Text(values) => {
                let text = |value: &String| ByteArray::from(value.as_str());
                write_column::<ByteArrayType, _>(&mut group, values, text)?;
            }
            Values::Whole(values) => write_column::<Int64Type, _>(&mut group, values, |value| *value)?,
            Values::Real(values) => write_column::<DoubleType, _>(&mut group, values, |value| *value)?,
            Values::Flag(values) => write_column::<BoolType, _>(&mut group, values, |value| *value)?,
        }
    }
    group.close()?;
    writer.close()?;
    Ok(bytes)
}

fn field(column: &RecordColumn) -> Result<TypePtr, ParquetError> {
    let (physical, logical) = match column.values {
        Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        Values::Whole(_) => (Physical::INT64, None),
        Values::Real(_) => (Physical::DOUBLE, None),
        Values::Flag(_) => (Physical::BOOLEAN, None),
    };
    let field = Type::primitive_type_builder(&column.name, physical)
        .with_repetition(Repetition::OPTIONAL)
        .with_logical_type(logical);
    field.build().map(Arc::new)
}

fn write_column<D: DataType, V>(
    group: &mut SerializedRowGroupWriter<'_, &mut Vec<u8>>,
    values: &[Option<V>],
    value: impl Fn(&V) -> D::T,
) -> Result<(), ParquetError> {
    let there: Vec<D::T> = values.iter().flatten().map(value).collect();
    // 1 where there is a value.
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let Some(mut column) = group.next_column()? else { return Ok(()) };
    column.typed::<D>().write_batch(&there, Some(&levels), None)?;
    column.close()
}

/// The lines of a file by column, each value as text that reads back to the same bits; empty where there is none.
pub(super) fn read(bytes: Vec<u8>) -> Result<Vec<BTreeMap<String, String>>, ParquetError> {
    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes))?;
    let mut lines = Vec::new();
    for row in reader.get_row_iter(None)? {
        let row = row?;
        let line = row.get_column_iter().map(|(name, field)| {
            let text = match field {
                Field::Null => String::new(),
                Field::Str(text) => text.clone(),
                Field::Double(value) => value.to_string(),
                other => other.to_string(),
            };
            (name.clone(), text)
        });
        lines.push(line.collect());
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let column = |name: &str, values| RecordColumn { name: name.to_owned(), values };
        let records = Records {
            columns: vec![
                column("text", Values::Text(vec![Some("ä\n".to_owned()), None, Some(String::new())])),
                column("whole", Values::Whole(vec![Some(i64::MIN), Some(3), None])),
                column("real", Values::Real(vec![None, Some(1.0 / 3.0), Some(1e300)])),
                column("flag", Values::Flag(vec![Some(true), None, Some(false)])),
            ],
        };
        let bytes = write(&records).unwrap();
        assert_eq!((&bytes[..4], &bytes[bytes.len() - 4..]), (&b"PAR1"[..], &b"PAR1"[..]));
        let lines = read(bytes).unwrap();
        assert_eq!((lines[0]["text"].as_str(), lines[0]["whole"].parse()), ("ä\n", Ok(i64::MIN)));
        assert_eq!(lines[1]["real"].parse::<f64>().map(f64::to_bits), Ok((1.0_f64 / 3.0).to_bits()));
        assert_eq!((lines[0]["flag"].as_str(), lines[1]["flag"].as_str()), ("true", ""));
        assert!(read(b"PAR1 is no file".to_vec()).is_err());
    }
}
