//! `cargo xtask crashes`: every crash of every small workload. Exhaustive, where `torture` is random.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use shroom_sim::exhaustive::{Exhaustive, Start, Step, Tally};

use crate::Result;
use crate::workspace::grouped;

/// How often the figures are shown while it runs.
const PROGRESS_EVERY: Duration = Duration::from_secs(30);

/// Try every crash of all workloads of up to so many operations: what is left must be a state that may be
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Length of the longest workloads; eight times as many with each
    #[arg(long, default_value_t = 4)]
    operations: usize,
    /// In bytes; may be given several times
    #[arg(long, default_values_t = [512, 4096])]
    page_size: Vec<u32>,
    /// What the workloads begin with: an empty file, a closed database, or one that crashed
    #[arg(long, default_values_t = Start::ALL)]
    start: Vec<Start>,
    /// How a checkpoint commits
    #[arg(long, value_enum, default_values_t = [Slices::Whole, Slices::Small])]
    slices: Vec<Slices>,
    /// Only this workload: names of operations, separated by spaces
    #[arg(long)]
    workload: Option<String>,
    /// Threads; as many as there are processors by default
    #[arg(long)]
    jobs: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Slices {
    /// All at once
    Whole,
    /// After each pack that it changes
    Small,
}

/// Tries everything; the first failure ends it.
pub(crate) fn run(arguments: &Arguments) -> Result {
    let steps: Option<Vec<Step>> = match &arguments.workload {
        Some(names) => Some(
            names
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_>>()?,
        ),
        None => None,
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = arguments.jobs.unwrap_or(processors);
    let began = Instant::now();
    let mut total = Tally::default();
    for &page_size in &arguments.page_size {
        for &start in &arguments.start {
            for &slices in &arguments.slices {
                if start == Start::Empty && slices == Slices::Small && arguments.slices.len() > 1 {
                    continue; // Small workloads make one pack: there is nothing to slice.
                }
                let tree = Exhaustive {
                    page_size,
                    start,
                    small_slices: slices == Slices::Small,
                    operations: arguments.operations,
                };
                total += search(&tree, steps.as_deref(), jobs)?;
            }
        }
    }
    println!("total: {}, {:.0?}", shown(&total), began.elapsed());
    Ok(())
}

fn search(tree: &Exhaustive, steps: Option<&[Step]>, jobs: usize) -> Result<Tally> {
    let began = Instant::now();
    let last = Mutex::new(began);
    let progress = |tally: &Tally| {
        let Ok(mut last) = last.lock() else { return };
        if last.elapsed() >= PROGRESS_EVERY {
            *last = Instant::now();
            println!(
                "{tree}: at {} of {}; {}",
                tally.workloads,
                tree.workloads(),
                shown(tally)
            );
        }
    };
    let tally = match steps {
        Some(steps) => tree.run_one(steps)?,
        None => tree.run(jobs, &progress)?,
    };
    println!("{tree}: {}, {:.1?}", shown(&tally), began.elapsed());
    Ok(tally)
}

fn shown(tally: &Tally) -> String {
    format!(
        "{} workloads, {} crash points ({} of them sampled), {} images, {} distinct, {} written to",
        grouped(tally.workloads),
        grouped(tally.crash_points),
        grouped(tally.sampled_points),
        grouped(tally.images),
        grouped(tally.distinct),
        grouped(tally.written)
    )
}
