//! Readers against the bytes they must give, and images read in every way.

use std::io::{BufRead, Read, Seek, SeekFrom};

use shroom::image::{Image, Value};
use shroom::{Reader, Result};

use crate::{Model, Random};

/// What an image holds, read in every way.
///
/// # Errors
/// Corruption of what is read.
///
/// # Panics
/// When two ways do not give the same.
pub fn read_image(image: &Image<'_>) -> Result<Model> {
    let mut model = Model {
        tag: image.tag(),
        ..Model::default()
    };
    for token in image.range(..) {
        let (id, value) = token?;
        let bytes = value_bytes(&value)?;
        let found = image.get(id)?.expect("an id that was listed is found");
        assert!(value_bytes(&found)? == bytes, "token {id}");
        assert!(model.tokens.insert(id, bytes).is_none(), "{id} comes twice");
    }
    let backward = image.range(..).rev().map(|token| Ok(token?.0));
    let backward = backward.collect::<Result<Vec<u64>>>()?;
    assert!(backward.iter().rev().eq(model.tokens.keys()));
    Ok(model)
}

/// A value's bytes, got in every way.
fn value_bytes(value: &Value<'_>) -> Result<Vec<u8>> {
    let bytes = value.to_vec()?;
    assert_eq!(value.len(), bytes.len() as u64);
    if let Some(slice) = value.as_slice()? {
        assert!(slice == bytes);
    }
    let chunks = value.chunks()?.collect::<Result<Vec<&[u8]>>>()?;
    assert!(chunks.iter().all(|chunk| !chunk.is_empty()) && chunks.concat() == bytes);
    let (from, to) = (bytes.len() / 3, bytes.len() - bytes.len() / 4);
    let mut part = vec![0; to - from];
    value.read_at(from as u64, &mut part)?;
    assert!(part == bytes[from..to]);
    Ok(bytes)
}

/// Fails unless a reader, which stands at the start, gives exactly these bytes: in pieces, in reads of any length, and after
/// seeks to and fro.
///
/// # Panics
/// When it does not; when reading is an error.
pub fn check_reader(mut reader: Reader, expected: &[u8], random: &mut Random) {
    let length = expected.len() as u64;
    assert_eq!(reader.len(), length);
    assert_eq!(reader.is_empty(), expected.is_empty());
    let mut at = 0;
    for piece in reader.chunks() {
        let piece = piece.expect("a piece");
        assert!(
            !piece.is_empty() && expected[at..].starts_with(piece),
            "at {at}"
        );
        at += piece.len();
    }
    assert_eq!(at, expected.len());
    for _ in 0..6 {
        let target = random.below(length + 3);
        let (from, back) = (reader.stream_position().expect("position"), random.below(3));
        let seek = match back {
            0 => SeekFrom::Start(target),
            1 => SeekFrom::End(target as i64 - length as i64),
            _ => SeekFrom::Current(target as i64 - from as i64),
        };
        assert_eq!(reader.seek(seek).expect("seek"), target);
        let rest = expected.get(target as usize..).unwrap_or(&[]);
        let mut buffer = vec![0; random.below(rest.len() as u64 + 2) as usize];
        if random.below(2) == 0 {
            let full = reader.read_exact(&mut buffer).is_ok();
            assert_eq!(full, buffer.len() <= rest.len());
            assert!(!full || rest.starts_with(&buffer), "from {target}");
        } else {
            let lent = reader.fill_buf().expect("bytes");
            assert_eq!(lent.is_empty(), rest.is_empty());
            assert!(rest.starts_with(lent), "from {target}");
            let consumed = lent.len() / 2;
            reader.consume(consumed);
            let mut left = Vec::new();
            reader.read_to_end(&mut left).expect("the rest");
            assert!(left == rest[consumed..], "from {target}");
        }
    }
    assert!(reader.seek(SeekFrom::End(-(length as i64) - 1)).is_err());
}
