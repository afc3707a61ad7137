//! The locks, condition variables and atomics with which threads meet: those of the standard library.
//!
//! Built with `--cfg shuttle` (`cargo xtask models`) they are those of the crate `shuttle`, under which a test decides which
//! thread goes on at each of their operations. The code that uses them is the same in both.
//!
//! Absent on purpose: `Arc`, `Weak` and `OnceLock`, which never wait here; the locks of the storages, none of which is held
//! while another thread may be let in.

#[cfg(not(shuttle))]
pub(crate) use core::sync::atomic::AtomicUsize;
#[cfg(all(feature = "std", not(shuttle)))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU64},
};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{
    Condvar, Mutex, MutexGuard, RwLock,
    atomic::{AtomicBool, AtomicU64, AtomicUsize},
};
