//! `cargo xtask torture`: random worlds, one a seed, in which the engine meets faults, damage and crashes.
//!
//! Each world is deterministic; only how many of them there is time for is not. A failure is shrunk and shown with
//! the command that repeats it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use shroom_sim::torture::{self, Failure, Honest, Script, Tally};

use crate::Result;
use crate::workspace::{self, cargo, grouped};

/// How often the figures are shown while it runs.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);
/// Runs of a failing script, at most, to make it shorter.
const SHRINK_ATTEMPTS: usize = 600;

/// Run random operations with faults and crashes in simulated worlds, and judge what is left each time
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Seed of the first world; the next have the seeds after it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How long; the worlds that run then are finished
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Number of worlds, instead of a time
    #[arg(long)]
    worlds: Option<u64>,
    /// Until so many crash images were opened, instead of a time
    #[arg(long, conflicts_with = "worlds")]
    images: Option<u64>,
    /// Threads; as many as there are processors by default
    #[arg(long)]
    jobs: Option<usize>,
    /// Print what happens in the first world, and do not run it
    #[arg(long)]
    show: bool,
}

/// What all threads share.
struct Shared {
    began: Instant,
    last_shown: Mutex<Instant>,
    next_seed: AtomicU64,
    stop: AtomicBool,
    total: Mutex<Total>,
}

#[derive(Default)]
struct Total {
    tally: Tally,
    images: HashSet<u64>,
    failed: Option<(Script, Failure)>,
}

/// Tortures; the first failure ends it.
pub(crate) fn run(arguments: &Arguments) -> Result {
    if arguments.show {
        print!("{}", Script::new(arguments.seed));
        return Ok(());
    }
    if cfg!(debug_assertions) {
        println!("built for development: building for speed and running that");
        let given = std::env::args_os().skip(1);
        return workspace::run(
            cargo()
                .args(["run", "--quiet", "--release", "--package", "xtask", "--"])
                .args(given),
        );
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let began = Instant::now();
    let shared = Shared {
        began,
        last_shown: Mutex::new(began),
        next_seed: AtomicU64::new(arguments.seed),
        stop: AtomicBool::new(false),
        total: Mutex::default(),
    };
    // A panic is caught, told as a failure, and repeated many times while it is shrunk.
    std::panic::set_hook(Box::new(|_| {}));
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.unwrap_or(processors) {
            scope.spawn(|| shared.work(arguments));
        }
    });
    let total = shared
        .total
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    println!("{}", total.summary(began.elapsed()));
    print!("{}", total.tally);
    match &total.failed {
        None => Ok(()),
        Some((script, failure)) => Err(explain(script, failure)),
    }
}

impl Shared {
    /// Runs worlds until there is no more time, or one has failed.
    fn work(&self, arguments: &Arguments) {
        let in_time = || match (arguments.worlds, arguments.images) {
            (None, None) => self.began.elapsed().as_secs_f64() < arguments.minutes * 60.0,
            // Ended below.
            _ => true,
        };
        while !self.stop.load(Ordering::Relaxed) && in_time() {
            let seed = self.next_seed.fetch_add(1, Ordering::Relaxed);
            if arguments
                .worlds
                .is_some_and(|worlds| seed - arguments.seed >= worlds)
            {
                return;
            }
            let script = Script::new(seed);
            let report = torture::run(&script, &Honest);
            let mut total = self.total.lock().unwrap_or_else(PoisonError::into_inner);
            total.tally.merge(&report.tally);
            total.images.extend(report.images);
            if let Some(failure) = report.failure {
                println!("seed {seed}: {failure}");
                self.stop.store(true, Ordering::Relaxed);
                total.failed.get_or_insert((script, failure));
            }
            let images = total.tally.count("crash images opened");
            if arguments.images.is_some_and(|enough| images >= enough) {
                self.stop.store(true, Ordering::Relaxed);
            }
            self.show(&total);
        }
    }

    fn show(&self, total: &Total) {
        let mut last = self
            .last_shown
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= PROGRESS_EVERY {
            *last = Instant::now();
            println!("{}", total.summary(self.began.elapsed()));
        }
    }
}

impl Total {
    fn summary(&self, elapsed: Duration) -> String {
        let images = self.tally.count("crash images opened");
        format!(
            "{} worlds, {} operations, {} crash images ({} distinct, {:.0} a second), {} faults, {} bits turned, {elapsed:.0?}",
            grouped(self.tally.count("worlds")),
            grouped(self.tally.count("operations")),
            grouped(images),
            grouped(self.images.len() as u64),
            images as f64 / elapsed.as_secs_f64(),
            grouped(self.tally.faults()),
            grouped(self.tally.count("bits turned in images")),
        )
    }
}

/// Shrinks a failing script, and says how to repeat it.
fn explain(script: &Script, failure: &Failure) -> String {
    let short = torture::shrink(script, SHRINK_ATTEMPTS, |shorter| {
        let found = torture::run(shorter, &Honest).failure;
        found.is_some_and(|found| found.kind == failure.kind)
    });
    println!(
        "\nshrunk from {} steps to {}:\n{short}",
        script.steps.len(),
        short.steps.len()
    );
    if let Some(failure) = torture::run(&short, &Honest).failure {
        println!("{failure}\n");
    }
    format!(
        "seed {}: {failure}\nto repeat: cargo xtask torture --seed {} --worlds 1",
        script.seed, script.seed
    )
}
