//! Models of what threads do to each other: the real engine, run under schedules that the crate `shuttle` chooses, thousands
//! of them for each test. Every lock, condition variable, atomic and call of the storage is a place where another thread may
//! be let in. A schedule in which all threads wait fails, as does any assertion. Run by `cargo xtask models`.
//!
//! What is not modelled: reorderings of memory accesses (every atomic acts as if sequentially consistent), and the inside of
//! `arc_swap` and of reference counts, whose operations take effect at one moment.

#![cfg(shuttle)]

mod checkpoint;
mod first_touch;
mod group_commit;
mod pages;
mod publish;
mod support;
