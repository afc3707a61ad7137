//! The hashes that stand for a whole database, as types of their own: one cannot be compared with another.

use core::fmt;

macro_rules! digest {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl From<[u8; 32]> for $name {
            fn from(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }
        }

        impl From<$name> for [u8; 32] {
            fn from(digest: $name) -> Self {
                digest.0
            }
        }

        /// 64 lower-case hexadecimal digits.
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(blake3::Hash::from(self.0).to_hex().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

digest! {
    /// Hash of the set of tokens (id, bytes), and of nothing else: equal for equal content, whatever the history, the page
    /// size and the places in the file. The tag is not in it. Defined in the file format, §11.
    ContentRoot
}

digest! {
    /// BLAKE3 of the canonical image of the tokens, the tag and the page size: of the file that a compaction writes. Defined in
    /// the file format, §10.
    FileHash
}

digest! {
    /// Hash that authenticates every page of a checkpoint, and the roots through which they are read. Defined in the file
    /// format, §3.
    PageRoot
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_hexadecimal() {
        let mut bytes = [0; 32];
        (bytes[0], bytes[31]) = (0xab, 7);
        let root = ContentRoot::from(bytes);
        let expected = format!("ab{}07", "0".repeat(60));
        assert_eq!(root.to_string(), expected);
        assert_eq!(format!("{root:?}"), format!("ContentRoot({expected})"));
        assert_eq!(format!("{root:>66}"), format!("  {expected}"));
        assert_eq!(<[u8; 32]>::from(root), *root.as_bytes());
    }
}
