//! Every operation's latency over a time of mixed load: as many puts as gets, random tokens, not synced, as fast as they go.
//! Stalls show as what they are: the longest operation of each tenth of a second.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::context::Context;
use crate::data::Ids;
use crate::random::Random;
use crate::sample::Window;
use crate::store::{Durability, Outcome, Tally};

/// Length of a stretch that is summed up.
const WINDOW: Duration = Duration::from_millis(100);

pub(crate) fn run(context: &mut Context) -> Outcome {
    let data = context.data(Ids::Dense);
    let mut store = context.open_copy(data, Durability::Visible)?;
    let length = Duration::from_secs_f64(context.settings.seconds);
    let mut recorder = Recorder::new()?;
    let mut puts = histogram()?;
    let mut random = Random::new(29);
    let mut value = Vec::new();
    let mut tally = Tally::default();
    let mut version = 0;
    let begin = Instant::now();
    while begin.elapsed() < length {
        let index = random.below(data.count);
        let id = data.id(index);
        let is_put = random.below(2) == 0;
        if is_put {
            version += 1;
            value.clear();
            data.value(index, version, &mut value);
        }
        let start = Instant::now();
        if is_put {
            store.put(id, &value)?;
        } else {
            store.get_fresh(&[id], &mut tally)?;
        }
        let nanoseconds = start.elapsed().as_nanos() as u64;
        recorder.record(begin.elapsed(), nanoseconds);
        if is_put {
            puts.saturating_record(nanoseconds);
        }
    }
    store.close()?;
    if tally.absent > 0 {
        return Err(format!("{} tokens are missing", tally.absent).into());
    }
    let (all, windows) = recorder.finish();
    context.record("latency-rate", all.len() as f64 / length.as_secs_f64());
    context.record("latency-p50", all.value_at_quantile(0.5) as f64 / 1e3);
    context.record("latency-p999", all.value_at_quantile(0.999) as f64 / 1e3);
    context.record(
        "latency-put-p999",
        puts.value_at_quantile(0.999) as f64 / 1e3,
    );
    context.record("latency-max", all.max() as f64 / 1e6);
    context.sample.windows = windows;
    Ok(())
}

/// From 1 ns to an hour, to three digits; the maximum of a window is taken from the histogram, and so has that error too.
fn histogram() -> Outcome<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 3_600_000_000_000, 3)?)
}

/// All latencies, and those of the present window.
struct Recorder {
    all: Histogram<u64>,
    window: Histogram<u64>,
    start: Duration,
    windows: Vec<Window>,
}

impl Recorder {
    fn new() -> Outcome<Self> {
        Ok(Self {
            all: histogram()?,
            window: histogram()?,
            start: Duration::ZERO,
            windows: Vec::new(),
        })
    }

    /// An operation ended at `now`; times do not go back.
    fn record(&mut self, now: Duration, nanoseconds: u64) {
        if now >= self.start + WINDOW {
            self.close_window();
            let whole = now.as_nanos() / WINDOW.as_nanos();
            self.start = WINDOW * u32::try_from(whole).unwrap_or(u32::MAX);
        }
        self.window.saturating_record(nanoseconds);
        self.all.saturating_record(nanoseconds);
    }

    fn close_window(&mut self) {
        if !self.window.is_empty() {
            self.windows.push(Window {
                start_ms: self.start.as_millis() as u64,
                operations: self.window.len(),
                p50: self.window.value_at_quantile(0.5),
                p99: self.window.value_at_quantile(0.99),
                p999: self.window.value_at_quantile(0.999),
                max: self.window.max(),
            });
        }
        self.window.reset();
    }

    fn finish(mut self) -> (Histogram<u64>, Vec<Window>) {
        self.close_window();
        (self.all, self.windows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_fall_into_the_windows_in_which_they_end() {
        let mut recorder = Recorder::new().unwrap();
        for (now, nanoseconds) in [(10, 100), (90, 300), (100, 500), (730, 700)] {
            recorder.record(Duration::from_millis(now), nanoseconds);
        }
        let (all, windows) = recorder.finish();
        assert_eq!(all.len(), 4);
        let found: Vec<_> = windows
            .iter()
            .map(|window| (window.start_ms, window.operations, window.max))
            .collect();
        assert_eq!(found, [(0, 2, 300), (100, 1, 500), (700, 1, 700)]);
        assert_eq!(windows[0].p50, 100);
    }
}
