//! Placeholder
#![forbid(unsafe_code)]

mod bulk;
mod column;
mod edit;
mod error;
mod id;
mod info;
mod lookup;
mod merge;
mod node;
mod pack;
mod range;
mod root;
mod stats;
mod verify;

pub use bulk::bulk_append;
pub use edit::{Bytes, Edit};
pub use error::{Result, TokenError};
pub use id::TokenId;
pub use info::{TokenInfo, info};
pub use lookup::get;
pub use merge::merge;
pub use node::NodeFlaw;
pub use pack::{Pack, PackFlaw, Stored, inline_len_max};
pub use range::{Range, range};
pub use root::TokenRoot;
pub use stats::directory_pages;
pub use verify::{TokenReport, verify};
