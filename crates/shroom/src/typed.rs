//! Values of any type that `serde` can write, as MessagePack.
//!
//! * T1 Equal values give equal bytes, as long as the type writes itself in one order: a `BTreeMap` does, a `HashMap` does not.
//! * T2 What is read is the whole value: bytes behind it are an error.
//!
//! A struct is an array of its fields, without their names: small, and open to new fields at the end that have a default.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::Batch;
use crate::db::Db;
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;

impl Db {
    /// Sets the value of token `id` to a typed value, written as MessagePack: a struct as an array of its fields, so that a later
    /// version may add fields with a default at the end. Needs the feature `serde`.
    ///
    /// ```
    /// # let db = shroom::Db::in_memory()?;
    /// db.put_value(1, &("spore", [1, 2, 3]))?;
    /// let (name, numbers): (String, Vec<u32>) = db.get_value(1)?.expect("it is there");
    /// assert_eq!((&*name, &*numbers), ("spore", &[1, 2, 3][..]));
    /// # Ok::<(), shroom::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Typed`](Error::Typed) for a value that cannot be written; those of [`put`](Self::put).
    pub fn put_value<T: Serialize + ?Sized>(&self, id: u64, value: &T) -> Result<()> {
        self.put(id, &encode(id, value)?)
    }

    /// The value of token `id` as a typed value that [`put_value`](Self::put_value) wrote. Needs the feature `serde`.
    ///
    /// # Errors
    /// [`Typed`](Error::Typed) when the bytes are not a value of that type; those of [`get`](Self::get).
    pub fn get_value<T: DeserializeOwned>(&self, id: u64) -> Result<Option<T>> {
        self.get(id)?.map(|bytes| decode(id, &bytes)).transpose()
    }
}

impl Snapshot {
    /// The value of token `id` as a typed value: see [`Db::get_value`].
    ///
    /// # Errors
    /// Those of [`Db::get_value`].
    pub fn get_value<T: DeserializeOwned>(&self, id: u64) -> Result<Option<T>> {
        self.get(id)?.map(|bytes| decode(id, &bytes)).transpose()
    }
}

impl Batch<'_> {
    /// Sets the value of token `id` to a typed value: see [`Db::put_value`].
    ///
    /// # Errors
    /// [`Typed`](Error::Typed) for a value that cannot be written; the batch is then as before.
    pub fn put_value<T: Serialize + ?Sized>(&mut self, id: u64, value: &T) -> Result<&mut Self> {
        Ok(self.put(id, &encode(id, value)?))
    }
}

fn encode<T: Serialize + ?Sized>(id: u64, value: &T) -> Result<Vec<u8>> {
    rmp_serde::to_vec(value).map_err(|error| typed::<T>(id, error))
}

fn decode<T: DeserializeOwned>(id: u64, bytes: &[u8]) -> Result<T> {
    let mut rest = bytes;
    let value = rmp_serde::from_read(&mut rest).map_err(|error| typed::<T>(id, error))?;
    if rest.is_empty() {
        return Ok(value);
    }
    let detail = format!(
        "the value ends at byte {} of {}",
        bytes.len() - rest.len(),
        bytes.len()
    );
    Err(typed::<T>(id, detail))
}

fn typed<T: ?Sized>(id: u64, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Typed {
        id,
        type_name: std::any::type_name::<T>(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::error::Error as _;

    use serde::{Deserialize, Serialize};

    use crate::{Db, Error, ErrorKind};

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct First {
        name: String,
        level: u8,
    }

    /// As `First`, in a later version.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Second {
        name: String,
        level: u8,
        #[serde(default)]
        marks: BTreeMap<u32, f64>,
    }

    fn first() -> First {
        First {
            name: "morel".into(),
            level: 7,
        }
    }

    #[test]
    fn the_bytes_are_those_of_message_pack() {
        let db = Db::in_memory().unwrap();
        db.put_value(1, &first()).unwrap();
        assert_eq!(db.get(1).unwrap().unwrap(), b"\x92\xa5morel\x07");
        db.put_value(1, "text").unwrap();
        assert_eq!(db.get(1).unwrap().unwrap(), b"\xa4text");
        db.put_value(1, &[1.5, 2.5]).unwrap();
        let two = b"\x92\xcb\x3f\xf8\0\0\0\0\0\0\xcb\x40\x04\0\0\0\0\0\0";
        assert_eq!(db.get(1).unwrap().unwrap(), two);
    }

    #[test]
    fn a_later_version_reads_what_an_earlier_one_wrote() {
        let db = Db::in_memory().unwrap();
        let mut batch = db.batch();
        batch.put_value(1, &first()).unwrap();
        batch.commit().unwrap();
        let second: Second = db.snapshot().get_value(1).unwrap().unwrap();
        assert_eq!((&*second.name, second.level), ("morel", 7));
        assert!(second.marks.is_empty());
        assert_eq!(db.get_value::<Second>(2).unwrap(), None);
    }

    #[test]
    fn other_bytes_and_other_types_are_errors_with_a_source() {
        let db = Db::in_memory().unwrap();
        db.put_value(1, &first()).unwrap();
        let error = db.get_value::<u64>(1).unwrap_err();
        assert!(matches!(
            error,
            Error::Typed {
                id: 1,
                type_name: "u64",
                ..
            }
        ));
        assert_eq!(error.kind(), ErrorKind::Misuse);
        assert!(error.source().is_some());
        db.append(1, b"\0").unwrap();
        let error = db.get_value::<First>(1).unwrap_err().to_string();
        assert!(error.ends_with("the value ends at byte 8 of 9"), "{error}");
        // Lengths and depths that are not there must cost neither memory nor stack.
        for bytes in [
            &b""[..],
            b"\xdd\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            &[0x91; 100_000],
        ] {
            db.put(2, bytes).unwrap();
            assert!(db.get_value::<Vec<u8>>(2).is_err());
            assert!(db.get_value::<serde::de::IgnoredAny>(2).is_err());
        }
    }
}
