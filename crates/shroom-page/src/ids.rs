//! Page numbers and the page size: newtypes for what must not be mixed up.

use core::fmt;

/// Smallest page size, in bytes.
pub const PAGE_SIZE_MIN: u32 = 512;
/// Largest page size, in bytes.
pub const PAGE_SIZE_MAX: u32 = 65_536;

/// A page's stable number, which all links above the page map use. 0 means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogicalPage(pub u32);

/// Where a page lies in the file: byte `number * page_size`. 0 is a superblock, so it means "none".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PhysicalPage(pub u32);

impl LogicalPage {
    /// The null link.
    pub const NONE: Self = Self(0);

    /// True for the null link.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl PhysicalPage {
    /// The null link.
    pub const NONE: Self = Self(0);

    /// True for the null link.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for LogicalPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "L{}", self.0)
    }
}

impl fmt::Debug for LogicalPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PhysicalPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{}", self.0)
    }
}

impl fmt::Debug for PhysicalPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A valid page size: a power of two from 512 to 65,536 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageSize {
    shift: u8,
}

impl PageSize {
    /// 4 KiB.
    pub const DEFAULT: Self = Self { shift: 12 };

    /// The page size of `bytes`, when that is a power of two from 512 to 65,536.
    pub fn new(bytes: u32) -> Option<Self> {
        let valid = bytes.is_power_of_two() && (PAGE_SIZE_MIN..=PAGE_SIZE_MAX).contains(&bytes);
        valid.then(|| Self {
            shift: bytes.trailing_zeros() as u8,
        })
    }

    /// The page size of `2^shift` bytes, for a shift of 9 to 16.
    pub fn from_shift(shift: u8) -> Option<Self> {
        (9..=16).contains(&shift).then_some(Self { shift })
    }

    /// Base-2 logarithm of the size.
    pub fn shift(self) -> u8 {
        self.shift
    }

    /// The size in bytes.
    pub fn bytes(self) -> usize {
        1 << self.shift
    }

    /// Every valid page size, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (9..=16).map(|shift| Self { shift })
    }
}

impl Default for PageSize {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl fmt::Debug for PageSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.bytes())
    }
}
