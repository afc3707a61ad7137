//! What the code has of the structures that `docs/format.md` describes: `cargo xtask spec` compares the two.
//!
//! Each structure is said beside its codec: a struct by its own fields, what has no struct by what its encoder writes.
//!
//! Absent on purpose: nothing reads or writes a file by this.

use crate::{PageSize, frames, header, map, named, page_root, proof, superblock};

/// Numbers by the names that the document has for them.
pub type Values = Vec<(&'static str, u64)>;

/// A structure of the format.
#[derive(Clone, Debug)]
pub struct Structure {
    /// Its name in the document.
    pub name: &'static str,
    /// What it is like for some of the numbers on which it depends; one case when there are none.
    pub cases: Vec<Case>,
}

/// A structure for given numbers.
#[derive(Clone, Debug)]
pub struct Case {
    /// The numbers.
    pub given: Values,
    /// Its fields, in order, without a gap.
    pub fields: Vec<Field>,
}

/// A field of a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the document.
    pub name: &'static str,
    /// Where it begins in the structure, in bytes.
    pub offset: u64,
    /// Its size, in bytes.
    pub len: u64,
}

/// Numbers with names: codes, and what follows from a page size.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// Their name in the document; two with the same name are one.
    pub name: &'static str,
    /// What they are, for each page size, in bytes, when they depend on it.
    pub cases: Vec<(Values, Values)>,
}

impl Structure {
    /// A structure that depends on nothing.
    pub fn fixed(name: &'static str, fields: Vec<Field>) -> Self {
        let given = Vec::new();
        Self {
            name,
            cases: vec![Case { given, fields }],
        }
    }

    /// A structure that depends on numbers.
    pub fn of(name: &'static str, cases: impl IntoIterator<Item = Case>) -> Self {
        let cases = cases.into_iter().collect();
        Self { name, cases }
    }
}

impl Field {
    /// A field.
    pub fn new(name: &'static str, offset: usize, len: usize) -> Self {
        let (offset, len) = (offset as u64, len as u64);
        Self { name, offset, len }
    }

    /// A field of a struct, from its offset and a function that borrows it.
    pub fn of<T, F>(name: &'static str, offset: usize, _: fn(&T) -> &F) -> Self {
        Self::new(name, offset, size_of::<F>())
    }

    /// The field that an encoder has filled with this byte, which is nowhere else.
    pub fn marked(name: &'static str, bytes: &[u8], mark: u8) -> Self {
        let is_mark = |&byte: &u8| byte == mark;
        let start = bytes.iter().position(is_mark).unwrap_or(bytes.len());
        let end = bytes.iter().rposition(is_mark).map_or(start, |at| at + 1);
        Self::new(name, start, end - start)
    }

    /// What is left behind other fields.
    pub fn rest(name: &'static str, fields: &[Self], len: usize) -> Self {
        let start = fields.last().map_or(0, |last| last.offset + last.len);
        Self::new(name, start as usize, len - start as usize)
    }
}

impl Numbers {
    /// Numbers that depend on nothing.
    pub fn fixed(name: &'static str, values: Values) -> Self {
        let cases = vec![(Vec::new(), values)];
        Self { name, cases }
    }

    /// Numbers that follow from the page size.
    pub fn by_page_size(name: &'static str, values: impl Fn(PageSize) -> Values) -> Self {
        let given = |size: PageSize| vec![("page_size", size.bytes() as u64)];
        let cases = PageSize::all().map(|size| (given(size), values(size)));
        let cases = cases.collect();
        Self { name, cases }
    }
}

/// The fields of a struct by the document's names.
#[doc(hidden)]
#[macro_export]
macro_rules! format_fields {
    ($type:ty { $($name:literal => $field:ident),* $(,)? }) => {
        vec![$(
            $crate::format::Field::of(
                $name,
                core::mem::offset_of!($type, $field),
                |value: &$type| &value.$field,
            )
        ),*]
    };
}

/// The structures of this layer.
pub fn structures() -> Vec<Structure> {
    [
        superblock::structures(),
        header::structures(),
        map::structures(),
        page_root::structures(),
        named::structures(),
        frames::structures(),
        crate::delta::structures(),
        proof::structures(),
    ]
    .concat()
}

/// The numbers of this layer.
pub fn numbers() -> Vec<Numbers> {
    let page_types = header::PageType::ALL.map(|(name, code)| (name, code as u64));
    vec![
        Numbers::fixed("page types", page_types.to_vec()),
        Numbers::fixed(
            "limits",
            vec![
                ("version", superblock::FORMAT_VERSION.into()),
                ("smallest page_size", crate::PAGE_SIZE_MIN.into()),
                ("largest page_size", crate::PAGE_SIZE_MAX.into()),
                ("highest sequence", superblock::SEQUENCE_LIMIT - 1),
                ("highest map_height", map::HEIGHT_MAX.into()),
                ("longest name", named::SNAPSHOT_NAME_MAX as u64),
            ],
        ),
        Numbers::by_page_size("by page size", |size| {
            vec![
                ("S", superblock::superblock_len(size) as u64),
                ("R", map::root_capacity(size) as u64),
                ("F", map::fanout(size) as u64),
            ]
        }),
    ]
}
