//! A cache in front of the page map: logical page -> physical page, of pages that are verified.
//!
//! A walk of the map touches some six cache lines; a hit here touches one. It belongs to one base, which never changes, so
//! an entry is never stale.
//!
//! * Q1 A page is entered only after its bytes matched its hash, so a hit needs no further check.

use std::sync::atomic::Ordering;

use crate::sync::AtomicU64;

/// Slots at most: 512 KiB of memory.
const SLOTS_MAX: usize = 1 << 16;

/// Direct-mapped: logical page `n` is in slot `n % slots`, as `n << 32 | physical`. 0 is empty, since no page is physical 0.
#[derive(Debug)]
pub(crate) struct Translations {
    slots: Box<[AtomicU64]>,
}

impl Translations {
    /// An empty cache for a store of `logical_pages`.
    pub(crate) fn new(logical_pages: u32) -> Self {
        let slots = (logical_pages as usize)
            .next_power_of_two()
            .clamp(8, SLOTS_MAX);
        Self {
            slots: std::iter::repeat_with(AtomicU64::default)
                .take(slots)
                .collect(),
        }
    }

    /// The physical page of `logical`, when it is known.
    #[inline]
    pub(crate) fn get(&self, logical: u32) -> Option<u32> {
        let slot = self.slot(logical)?.load(Ordering::Relaxed);
        let physical = slot as u32;
        ((slot >> 32) as u32 == logical && physical != 0).then_some(physical)
    }

    /// Notes where the verified page `logical` lies.
    #[inline]
    pub(crate) fn insert(&self, logical: u32, physical: u32) {
        if let Some(slot) = self.slot(logical) {
            slot.store(
                u64::from(logical) << 32 | u64::from(physical),
                Ordering::Relaxed,
            );
        }
    }

    #[inline]
    fn slot(&self, logical: u32) -> Option<&AtomicU64> {
        self.slots.get(logical as usize & (self.slots.len() - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_entered_and_nothing_else() {
        let cache = Translations::new(3);
        assert_eq!(cache.get(0), None);
        cache.insert(1, 7);
        assert_eq!((cache.get(1), cache.get(9)), (Some(7), None));
        cache.insert(9, 8); // the same slot
        assert_eq!((cache.get(1), cache.get(9)), (None, Some(8)));
    }
}
