//! Torture: seeded worlds in which the real engine runs over a storage that fails, and crashes again and again.
//!
//! A [`Script`] is everything that happens, made from a seed ([`Script::new`]) or shortened ([`shrink`]); [`run`] plays it
//! and judges what it sees against the model and the [`History`](crate::History). A world consists of lives: from opening
//! the database to its closing, its killing, or a crash of the machine. At the end of each life the images that a
//! crash could have left at its events are opened and judged; the next life may begin with one of them.
//!
//! * T1 The same script gives the same run: the same calls, images and [`Report`], whose digest covers them.
//! * T2 An error is a failure of the engine unless a fault was injected, or the file damaged, in this life.
//! * T3 Where a bit was turned or a write went astray, an error of kind corruption is as good as the right data.
//!
//! Absent on purpose: time, threads. To add an operation, see [`Op`](crate::Op) and [`Workload`](crate::Workload).

mod damage;
mod examine;
mod life;
mod plug;
mod reads;
mod script;
mod shrink;
mod states;
mod tally;
#[cfg(test)]
mod tests;
mod world;

pub use plug::Plug;
pub use script::{End, Opening, Script, Settings, Step};
pub use shrink::shrink;
pub use tally::Tally;
pub use world::{Engine, Failure, FailureKind, Honest, Report, run};
