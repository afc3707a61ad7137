//! SIGINT and SIGTERM: everything is put in order first, then the process ends with 128 + the signal's number.
//!
//! * G1 A second signal ends the process at once, whatever the first one is waiting for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{CliError, Result};

/// The signals that ask to stop.
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Remembers a signal until a long command asks for it.
#[derive(Debug, Clone)]
pub(crate) struct Interrupt(Arc<AtomicUsize>);

impl Interrupt {
    /// Starts to listen.
    pub(crate) fn listen() -> io::Result<Self> {
        end_at_the_second()?;
        let seen = Arc::new(AtomicUsize::new(0));
        for signal in SIGNALS {
            flag::register_usize(signal, Arc::clone(&seen), signal as usize)?;
        }
        Ok(Self(seen))
    }

    /// The signal that came, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => i32::try_from(signal).ok(),
        }
    }

    /// An error once a signal came.
    pub(crate) fn check(&self) -> Result<()> {
        match self.signal() {
            Some(signal) => Err(CliError::Interrupted(signal)),
            None => Ok(()),
        }
    }
}

/// Runs `action` on a thread of its own when a signal comes; it is given the signal and ends the process.
#[cfg(unix)]
pub(crate) fn on_signal(action: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    end_at_the_second()?;
    let mut signals = signal_hook::iterator::Signals::new(SIGNALS)?;
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            if let Some(signal) = signals.forever().next() {
                action(signal);
            }
        })?;
    Ok(())
}

/// Elsewhere than on Unix the system ends the process; what was flushed is safe.
#[cfg(not(unix))]
pub(crate) fn on_signal(_action: impl FnOnce(i32) + Send + 'static) -> io::Result<()> {
    Ok(())
}

/// Holds G1. The order matters: the first signal finds the flag down, and raises it.
fn end_at_the_second() -> io::Result<()> {
    let armed = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&armed))?;
        flag::register(signal, Arc::clone(&armed))?;
    }
    Ok(())
}
