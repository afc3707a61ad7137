//! What the code has of the structures that `docs/format.md` describes, those of the layers below included: `cargo xtask spec`
//! compares the two.

pub use shroom_page::format::{Case, Field, Numbers, Structure};

use crate::{operation, root};

/// All structures.
pub fn structures() -> Vec<Structure> {
    let mut all = shroom_page::format::structures();
    all.extend(shroom_seg::format::structures());
    all.extend(shroom_token::format::structures());
    all.push(root::structure());
    all
}

/// All numbers.
pub fn numbers() -> Vec<Numbers> {
    let mut all = shroom_page::format::numbers();
    all.extend(shroom_seg::format::numbers());
    all.extend(shroom_token::format::numbers());
    all.push(Numbers::fixed("operations", operation::CODES.to_vec()));
    all.push(Numbers::fixed("application flags", root::FLAGS.to_vec()));
    all
}
