//! Which physical pages have been checked against their hash since the store was opened.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::Ordering;

use crate::sync::AtomicUsize;

/// When a page's hash is checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadCheck {
    /// At its first touch after open, and again after it was rewritten.
    #[default]
    FirstTouch,
    /// At each read: for storage that is not trusted to keep its bytes.
    EveryRead,
    /// Never: for measurements. Damage may then be returned as data.
    Off,
}

/// Pages of one word.
const WORD_BITS: usize = usize::BITS as usize;

/// A bit a physical page: set once its bytes were seen to match the hash that its referrer holds.
///
/// A bit is cleared before its page is written anew, and the new content is published to readers only
/// afterwards (through a lock or an atomic swap), so relaxed ordering suffices: a lost bit costs one more check.
#[derive(Debug)]
pub(crate) struct VerifiedPages {
    words: Box<[AtomicUsize]>,
    check: ReadCheck,
    /// How often a page was checked, for whoever asks. Not one of [`crate::sync`]: nothing depends on it.
    checked: Arc<core::sync::atomic::AtomicUsize>,
}

impl VerifiedPages {
    /// No page verified, room for at least `pages`.
    pub(crate) fn new(pages: u32, check: ReadCheck) -> Self {
        let words = (pages as usize)
            .div_ceil(WORD_BITS)
            .next_power_of_two()
            .max(8);
        // With checks off, every page counts as verified from the start.
        let word = if check == ReadCheck::Off {
            usize::MAX
        } else {
            0
        };
        Self {
            words: (0..words).map(|_| AtomicUsize::new(word)).collect(),
            check,
            checked: Arc::default(),
        }
    }

    /// A larger copy.
    pub(crate) fn grown(&self, pages: u32) -> Self {
        let larger = Self {
            checked: Arc::clone(&self.checked),
            ..Self::new(pages, self.check)
        };
        for (new, old) in larger.words.iter().zip(&self.words) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        larger
    }

    pub(crate) fn capacity(&self) -> u64 {
        self.words.len() as u64 * WORD_BITS as u64
    }

    /// How often a page was checked against its hash.
    pub(crate) fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed) as u64
    }

    /// Counts a check, which took about a microsecond.
    pub(crate) fn count_check(&self) {
        self.checked.fetch_add(1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn contains(&self, page: u32) -> bool {
        self.words
            .get(page as usize / WORD_BITS)
            .is_some_and(|word| word.load(Ordering::Relaxed) >> (page % WORD_BITS as u32) & 1 != 0)
    }

    pub(crate) fn insert(&self, page: u32) {
        if let Some(word) = self.words.get(page as usize / WORD_BITS) {
            word.fetch_or(1 << (page % WORD_BITS as u32), Ordering::Relaxed);
        }
    }

    pub(crate) fn remove(&self, page: u32) {
        if self.check == ReadCheck::Off {
            return;
        }
        if let Some(word) = self.words.get(page as usize / WORD_BITS) {
            word.fetch_and(!(1 << (page % WORD_BITS as u32)), Ordering::Relaxed);
        }
    }
}
