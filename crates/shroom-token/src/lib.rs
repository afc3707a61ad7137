//! Placeholder
#![forbid(unsafe_code)]

mod column;
mod edit;
mod error;
mod id;
mod lookup;
mod merge;
mod node;
mod pack;
mod range;
mod root;

pub use edit::{Bytes, Edit};
pub use error::{Result, TokenError};
pub use id::TokenId;
pub use lookup::get;
pub use merge::merge;
pub use node::NodeFlaw;
pub use pack::{Pack, PackFlaw, Stored, inline_len_max};
pub use range::{Range, range};
pub use root::TokenRoot;
