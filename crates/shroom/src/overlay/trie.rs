//! The index of an overlay: ids in order, each with a slot, as a trie of sixteen-way nodes over the hexadecimal digits of an
//! id. One thread changes it; any number of others read it meanwhile, without a lock.
//!
//! * T1 A node tells apart the ids below it by one digit; digits in which all of them are alike have no node. So there are at
//!   most as many nodes as ids, every node has two children or more, and no path is longer than 16.
//! * T2 A change is one store of a link: to a slot in a free place, to another slot for the same id, or to a new, complete node
//!   that has what was there below it. What was reachable from anywhere stays reachable from there.
//!
//! By T2 a reader finds all that was there when it began, whatever is added meanwhile.
//!
//! Absent on purpose: removal. The trie knows no slot's id: whoever owns the slots is asked.

use std::sync::atomic::{AtomicU32, Ordering};

use super::arena::{Arena, CELLS_MAX};

const DIGIT_BITS: u32 = 4;
const DIGITS: usize = 16;

/// What a place in a node leads to, in 32 bits: 0 for nothing; a slot, with the highest bit set; or a node's number,
/// which is not 0, below the number of the digit by which it tells ids apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Nothing,
    Slot(u32),
    Node { number: u32, digit: u32 },
}

const SLOT: u32 = 1 << 31;
const NODE_BITS: u32 = CELLS_MAX.trailing_zeros();
const _: () = assert!(NODE_BITS + DIGIT_BITS < u32::BITS);

/// A place for a link.
#[derive(Debug, Default)]
struct Place(AtomicU32);

impl Place {
    #[inline]
    fn load(&self) -> Link {
        let bits = self.0.load(Ordering::Acquire);
        if bits & SLOT != 0 {
            Link::Slot(bits & !SLOT)
        } else if bits == 0 {
            Link::Nothing
        } else {
            Link::Node {
                number: bits & (CELLS_MAX - 1),
                digit: bits >> NODE_BITS,
            }
        }
    }

    fn store(&self, link: Link) {
        let bits = match link {
            Link::Nothing => 0,
            Link::Slot(slot) => SLOT | slot,
            Link::Node { number, digit } => digit << NODE_BITS | number,
        };
        self.0.store(bits, Ordering::Release);
    }
}

/// One cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Node([Place; DIGITS]);

#[inline]
fn digit_of(id: u64, digit: u32) -> usize {
    (id >> (digit * DIGIT_BITS)) as usize % DIGITS
}

/// The highest digit in which two ids differ.
fn highest_difference(one: u64, other: u64) -> u32 {
    (one ^ other).ilog2() / DIGIT_BITS
}

#[derive(Debug)]
pub(super) struct Trie {
    root: Place,
    nodes: Arena<Node>,
    /// Number of the next node; only whoever changes the trie looks at it.
    next_node: AtomicU32,
}

/// Where an id is in the trie, or belongs.
#[derive(Debug)]
pub(super) struct Spot<'t> {
    place: &'t Place,
    found: Found,
}

#[derive(Debug)]
enum Found {
    /// The id.
    Slot(u32),
    /// A free place.
    Nothing,
    /// Another id or a node, which differ in a digit that no node tells apart yet.
    Other {
        link: Link,
        value: usize,
        digit: u32,
    },
}

impl Spot<'_> {
    /// The slot of the id, when it is there.
    pub(super) fn slot(&self) -> Option<u32> {
        match self.found {
            Found::Slot(slot) => Some(slot),
            _ => None,
        }
    }
}

impl Trie {
    pub(super) fn new() -> Self {
        Self {
            root: Place::default(),
            nodes: Arena::new(),
            next_node: AtomicU32::new(1),
        }
    }

    /// The slot of an id, if it is there; else that of another one, or none.
    #[inline]
    pub(super) fn candidate(&self, id: u64) -> Option<u32> {
        let mut link = self.root.load();
        while let Link::Node { number, digit } = link {
            link = self.node(number).0[digit_of(id, digit)].load();
        }
        match link {
            Link::Slot(slot) => Some(slot),
            _ => None,
        }
    }

    /// Where an id is, or belongs. Only for whoever changes the trie.
    pub(super) fn locate(&self, id: u64, id_of: impl Fn(u32) -> u64) -> Spot<'_> {
        let mut place = &self.root;
        let mut nearest = None;
        // As long as no digit is passed over, what is there agrees with the id in all digits above.
        let (mut is_exact, mut next_digit) = (true, DIGITS as u32);
        let slot = loop {
            match place.load() {
                Link::Slot(slot) => break slot,
                Link::Node { number, digit } => {
                    is_exact &= digit + 1 == next_digit;
                    next_digit = digit;
                    let node = self.node(number);
                    nearest = Some(node);
                    place = &node.0[digit_of(id, digit)];
                }
                Link::Nothing => match nearest {
                    Some(node) if !is_exact => break self.any_slot(node),
                    _ => {
                        let found = Found::Nothing;
                        return Spot { place, found };
                    }
                },
            }
        };
        let other = id_of(slot);
        if other == id {
            let found = Found::Slot(slot);
            return Spot { place, found };
        }
        self.divide(id, other)
    }

    /// Where an id belongs that is not there, given one that has all digits in common with it for which there are nodes.
    #[cold]
    fn divide(&self, id: u64, other: u64) -> Spot<'_> {
        let difference = highest_difference(id, other);
        let mut place = &self.root;
        let mut link = place.load();
        while let Link::Node { number, digit } = link
            && digit >= difference
        {
            place = &self.node(number).0[digit_of(id, digit)];
            link = place.load();
        }
        let found = match link {
            Link::Nothing => Found::Nothing,
            _ => Found::Other {
                link,
                value: digit_of(other, difference),
                digit: difference,
            },
        };
        Spot { place, found }
    }

    /// Gives the id at a spot, which was located since the last change, a slot.
    pub(super) fn set(&self, spot: &Spot<'_>, id: u64, slot: u32) {
        let link = match spot.found {
            Found::Slot(_) | Found::Nothing => Link::Slot(slot),
            Found::Other { link, value, digit } => {
                let number = self.next_node.load(Ordering::Relaxed);
                self.next_node.store(number + 1, Ordering::Relaxed);
                let node = self.nodes.make(number);
                node.0[value].store(link);
                node.0[digit_of(id, digit)].store(Link::Slot(slot));
                Link::Node { number, digit }
            }
        };
        spot.place.store(link);
    }

    #[inline]
    fn node(&self, number: u32) -> &Node {
        self.nodes.cell(number)
    }

    /// Some slot below a node.
    fn any_slot<'t>(&'t self, mut node: &'t Node) -> u32 {
        loop {
            let links = node.0.iter().map(Place::load);
            let mut links = links.filter(|link| *link != Link::Nothing);
            match links.next().expect("a node has children") {
                Link::Node { number, .. } => node = self.node(number),
                Link::Slot(slot) => return slot,
                Link::Nothing => unreachable!("was filtered out"),
            }
        }
    }
}

/// A walk over slots in the order of their ids, up or down.
#[derive(Debug)]
pub(super) struct Walk<'t> {
    trie: &'t Trie,
    /// All ones on the way down: the order of the ids' complements.
    flip: u64,
    /// The nodes above, from the root: of each its digit and the next child to visit.
    path: [Step; DIGITS],
    depth: usize,
    /// A slot that comes before all that is below `path`.
    first: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Step {
    number: u32,
    digit: u32,
    next: usize,
}

impl<'t> Walk<'t> {
    /// A walk from an id on, whether it is there or not.
    pub(super) fn from(
        trie: &'t Trie,
        start: u64,
        forward: bool,
        id_of: impl Fn(u32) -> u64,
    ) -> Self {
        let flip = if forward { 0 } else { u64::MAX };
        let mut walk = Self {
            trie,
            flip,
            path: [Step::default(); DIGITS],
            depth: 0,
            first: None,
        };
        let key = start ^ flip;
        let mut link = trie.root.load();
        while let Link::Node { number, digit } = link {
            let value = digit_of(key, digit);
            walk.push(number, digit, value + 1);
            link = walk.child(number, value);
        }
        let ended = match link {
            Link::Slot(slot) => Some(slot),
            _ => None,
        };
        let nearest = walk.path[..walk.depth].last();
        let near = ended.or_else(|| Some(trie.any_slot(trie.node(nearest?.number))));
        let Some(near) = near else { return walk };
        let found = id_of(near) ^ flip;
        if found == key {
            walk.first = Some(near);
            return walk;
        }
        // All that is below a node of a digit behind the difference lies on the same side of the start as what was found.
        let difference = highest_difference(found, key);
        let path = &mut walk.path[..walk.depth];
        match path.iter().position(|step| step.digit < difference) {
            Some(beside) if found > key => {
                path[beside].next = 0;
                walk.depth = beside + 1;
            }
            Some(beside) => walk.depth = beside,
            None => walk.first = ended.filter(|_| found > key),
        }
        walk
    }

    fn push(&mut self, number: u32, digit: u32, next: usize) {
        self.path[self.depth] = Step {
            number,
            digit,
            next,
        };
        self.depth += 1;
    }

    fn child(&self, number: u32, value: usize) -> Link {
        self.trie.node(number).0[value ^ digit_of(self.flip, 0)].load()
    }
}

impl Iterator for Walk<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        if let Some(slot) = self.first.take() {
            return Some(slot);
        }
        loop {
            let step = self.path[..self.depth].last_mut()?;
            if step.next == DIGITS {
                self.depth -= 1;
                continue;
            }
            let (number, value) = (step.number, step.next);
            step.next += 1;
            match self.child(number, value) {
                Link::Nothing => {}
                Link::Slot(slot) => return Some(slot),
                Link::Node { number, digit } => self.push(number, digit, 0),
            }
        }
    }
}
