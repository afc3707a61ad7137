//! The simulated world that ShroomDB is tested in: what a database must hold ([`Model`]), random operations
//! ([`Workload`]), and which states a crash may leave ([`History`]). Deterministic: everything comes from a seed.
//!
//! Used by the integration tests of the facade, by `cargo xtask torture` and by the fuzz targets; never published.

#![forbid(unsafe_code)]

mod choices;
mod content;
pub mod exhaustive;
pub mod forge;
mod history;
mod model;
pub mod proof;
mod random;
mod reading;
pub mod torture;
mod workload;

pub use choices::Choices;
pub use content::content_root;
pub use history::{History, crash_images};
pub use model::{
    Change, Model, Op, Outcome, assert_sound, findings, findings_after_crash, fingerprint,
    is_blank, perform, run, snapshot_name,
};
pub use random::Random;
pub use reading::{check_reader, read_image};
pub use workload::Workload;
