//! The locks, threads and the published pointer with which threads meet: those of the standard library, and of `arc_swap`.
//!
//! Built with `--cfg shuttle` (`cargo xtask models`) they are those of the crate `shuttle`, under which a test decides which
//! thread goes on at each of their operations. The code that uses them is the same in both.

#[cfg(not(shuttle))]
pub(crate) use {
    arc_swap::ArcSwap,
    std::sync::{Condvar, Mutex, MutexGuard, atomic::AtomicU64},
    std::thread::{Builder, JoinHandle},
};

#[cfg(shuttle)]
pub(crate) use {
    modelled::{ArcSwap, Condvar},
    shuttle::sync::{Mutex, MutexGuard, atomic::AtomicU64},
    shuttle::thread::{Builder, JoinHandle},
};

/// What `shuttle` does not have.
#[cfg(shuttle)]
mod modelled {
    use std::sync::{Arc, LockResult};
    use std::time::Duration;

    use arc_swap::Guard;
    use shuttle::rand::Rng;
    use shuttle::sync::MutexGuard;

    /// The real one: each of its operations takes effect at one moment, before which another thread may be let in. What it
    /// does inside is not modelled.
    #[derive(Debug)]
    pub(crate) struct ArcSwap<T>(arc_swap::ArcSwap<T>);

    impl<T> ArcSwap<T> {
        pub(crate) fn from_pointee(value: T) -> Self {
            Self(arc_swap::ArcSwap::from_pointee(value))
        }

        pub(crate) fn load(&self) -> Guard<Arc<T>> {
            let_others_in();
            self.0.load()
        }

        pub(crate) fn load_full(&self) -> Arc<T> {
            let_others_in();
            self.0.load_full()
        }

        pub(crate) fn store(&self, value: Arc<T>) {
            let_others_in();
            self.0.store(value);
        }
    }

    fn let_others_in() {
        shuttle::thread::sleep(Duration::ZERO);
    }

    /// With waits that may time out, which those of `shuttle` never do.
    #[derive(Debug, Default)]
    pub(crate) struct Condvar(shuttle::sync::Condvar);

    impl Condvar {
        pub(crate) fn new() -> Self {
            Self::default()
        }

        pub(crate) fn wait<'g, T>(
            &self,
            guard: MutexGuard<'g, T>,
        ) -> LockResult<MutexGuard<'g, T>> {
            self.0.wait(guard)
        }

        /// Waits for a signal, or not at all: as if the time were over before anyone else took the lock.
        pub(crate) fn wait_timeout<'g, T>(
            &self,
            guard: MutexGuard<'g, T>,
            _longest: Duration,
        ) -> LockResult<MutexGuard<'g, T>> {
            if shuttle::rand::thread_rng().gen_bool(0.5) {
                return Ok(guard);
            }
            self.0.wait(guard)
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }
}
