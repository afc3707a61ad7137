//! Operations as journal bytes (format §9): what a batch's frame holds.

/// One operation of a batch, over borrowed bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Put {
        id: u64,
        bytes: &'a [u8],
    },
    Delete {
        id: u64,
    },
    /// `offset` is the token's length before.
    Append {
        id: u64,
        offset: u64,
        bytes: &'a [u8],
    },
    Tag {
        value: u64,
    },
}

const PUT: u8 = 1;
const DELETE: u8 = 2;
const APPEND: u8 = 3;
const TAG: u8 = 4;

/// The codes, by the format's names.
pub(crate) const CODES: [(&str, u64); 4] = [
    ("put", PUT as u64),
    ("delete", DELETE as u64),
    ("append", APPEND as u64),
    ("tag", TAG as u64),
];

impl<'a> Operation<'a> {
    pub(crate) fn encode(&self, frame: &mut Vec<u8>) {
        match *self {
            Self::Put { id, bytes } => {
                frame.push(PUT);
                put_varint(frame, id);
                put_bytes(frame, bytes);
            }
            Self::Delete { id } => {
                frame.push(DELETE);
                put_varint(frame, id);
            }
            Self::Append { id, offset, bytes } => {
                frame.push(APPEND);
                put_varint(frame, id);
                put_varint(frame, offset);
                put_bytes(frame, bytes);
            }
            Self::Tag { value } => {
                frame.push(TAG);
                put_varint(frame, value);
            }
        }
    }

    /// The token that it changes, and the length that this has then; `None` when it is deleted.
    pub(crate) fn length_after(&self) -> Option<(u64, Option<u64>)> {
        match *self {
            Self::Put { id, bytes } => Some((id, Some(bytes.len() as u64))),
            Self::Append { id, offset, bytes } => Some((id, Some(offset + bytes.len() as u64))),
            Self::Delete { id } => Some((id, None)),
            Self::Tag { .. } => None,
        }
    }

    /// Takes the first operation off `rest`; `None` at its end.
    pub(crate) fn decode(rest: &mut &'a [u8]) -> Result<Option<Self>, String> {
        let Some((&code, tail)) = rest.split_first() else {
            return Ok(None);
        };
        *rest = tail;
        let operation = match code {
            PUT => Self::Put {
                id: take_varint(rest)?,
                bytes: take_bytes(rest)?,
            },
            DELETE => Self::Delete {
                id: take_varint(rest)?,
            },
            APPEND => Self::Append {
                id: take_varint(rest)?,
                offset: take_varint(rest)?,
                bytes: take_bytes(rest)?,
            },
            TAG => Self::Tag {
                value: take_varint(rest)?,
            },
            _ => return Err(format!("operation code {code}, expected 1 to 4")),
        };
        Ok(Some(operation))
    }
}

fn put_varint(frame: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        frame.push(value as u8 | 0x80);
        value >>= 7;
    }
    frame.push(value as u8);
}

fn put_bytes(frame: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(frame, bytes.len() as u64);
    frame.extend_from_slice(bytes);
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((&byte, tail)) = rest.split_first() else {
            return Err("ends inside a number".into());
        };
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            let shortest = shift == 0 || byte != 0;
            return if shortest {
                Ok(value)
            } else {
                Err("number not in its shortest form".into())
            };
        }
    }
    Err("number above 64 bits".into())
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = take_varint(rest)?;
    match usize::try_from(len)
        .ok()
        .and_then(|len| rest.split_at_checked(len))
    {
        Some((bytes, tail)) => {
            *rest = tail;
            Ok(bytes)
        }
        None => Err(format!(
            "{len} bytes of data, {} left in the frame",
            rest.len()
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trips(id: u64, offset: u64, bytes: Vec<u8>, value: u64) {
            let operations = [
                Operation::Put { id, bytes: &bytes },
                Operation::Append { id, offset, bytes: &bytes },
                Operation::Delete { id },
                Operation::Tag { value },
            ];
            let mut frame = Vec::new();
            for operation in operations {
                operation.encode(&mut frame);
            }
            let mut rest = &frame[..];
            for operation in operations {
                prop_assert_eq!(Operation::decode(&mut rest), Ok(Some(operation)));
            }
            prop_assert_eq!(Operation::decode(&mut rest), Ok(None));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            let mut rest = &bytes[..];
            while let Ok(Some(_)) = Operation::decode(&mut rest) {}
        }
    }
}
