//! A whole run: rounds of workloads of peers, each in its own process, and what comes of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::arguments::Arguments;
use crate::context::{Settings, fixture};
use crate::job::{Job, Task};
use crate::peer::Peer;
use crate::results::{PeerInfo, Results};
use crate::sample::{Point, Sample, Window};
use crate::statistics::Summary;
use crate::store::Outcome;
use crate::workload::{self, Workload};
use crate::{machine, plot, table, trace};

/// Durable commits of a traced run.
const TRACED_COMMITS: u64 = 100;

/// How often a process is looked after.
const POLL: Duration = Duration::from_millis(5);

/// Runs what was asked for, prints the table, and writes table, figures and pictures.
pub(crate) fn run(arguments: &Arguments) -> Outcome {
    if arguments.list {
        return list(arguments);
    }
    let results = match arguments.render {
        true => read(&arguments.output)?,
        false => measure_all(arguments)?,
    };
    let page = table::page(&results);
    print!("{page}");
    fs::write(arguments.output.join("README.md"), &page)?;
    let pictures = plot::all(&results, &arguments.output)?;
    eprintln!(
        "{} pictures, the table and the figures are in {}",
        pictures.len(),
        arguments.output.display()
    );
    Ok(())
}

/// The figures are written after each workload, so that a run that is stopped has measured something.
fn measure_all(arguments: &Arguments) -> Outcome<Results> {
    let earlier = match arguments.keep {
        true => Some(read(&arguments.output)?),
        false => None,
    };
    let base = arguments
        .directory
        .clone()
        .unwrap_or_else(std::env::temp_dir);
    let directory = tempfile::Builder::new()
        .prefix("shroom-bench-")
        .tempdir_in(base)?;
    let mut run = Run::new(arguments, directory.path())?;
    let mut results = run.results(arguments);
    let is_other = |earlier: &Results| earlier.settings != results.settings;
    if earlier.as_ref().is_some_and(is_other) {
        return Err("the figures to be kept have other settings".into());
    }
    fs::create_dir_all(&arguments.output)?;
    for round in 0..arguments.size.rounds() {
        for workload in arguments.chosen_workloads()? {
            if round >= workload.rounds_max {
                continue;
            }
            run.round(workload, round);
            results = run.results(arguments);
            if let Some(earlier) = &earlier {
                results.take_over(earlier.clone());
            }
            let mut text = serde_json::to_string_pretty(&results)?;
            text.push('\n');
            fs::write(figures(&arguments.output), text)?;
        }
    }
    Ok(results)
}

fn figures(output: &Path) -> PathBuf {
    output.join("results.json")
}

fn read(output: &Path) -> Outcome<Results> {
    let path = figures(output);
    let text = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn list(arguments: &Arguments) -> Outcome {
    println!("peers:");
    for peer in arguments.chosen_peers()? {
        println!(
            "  {:<14} {:<18} {}",
            peer.name,
            peer.version(),
            peer.settings
        );
    }
    println!("workloads:");
    for workload in workload::ALL {
        println!("  {:<14} {}", workload.name, workload.about);
    }
    Ok(())
}

struct Run {
    peers: Vec<Peer>,
    settings: Settings,
    directory: PathBuf,
    timeout: Duration,
    /// By row, then by peer.
    figures: BTreeMap<String, BTreeMap<String, Vec<f64>>>,
    points: BTreeMap<String, Vec<Point>>,
    windows: BTreeMap<String, Vec<Window>>,
    /// By workload and number of tokens: what the first peer read.
    checksums: BTreeMap<(&'static str, u64), (u64, &'static str)>,
    failures: BTreeSet<String>,
}

impl Run {
    fn new(arguments: &Arguments, directory: &Path) -> Outcome<Self> {
        fs::create_dir(directory.join("fixtures"))?;
        Ok(Self {
            peers: arguments.chosen_peers()?,
            settings: arguments.size.settings(),
            directory: directory.to_owned(),
            timeout: Duration::from_secs(arguments.timeout),
            figures: BTreeMap::new(),
            points: BTreeMap::new(),
            windows: BTreeMap::new(),
            checksums: BTreeMap::new(),
            failures: BTreeSet::new(),
        })
    }

    /// One workload of all peers. Each round begins with another peer, so that nobody always comes first.
    fn round(&mut self, workload: &'static Workload, round: usize) {
        for step in 0..self.peers.len() {
            let index = (step + round) % self.peers.len();
            if !(workload.takes)(&self.peers[index]) {
                continue;
            }
            let name = self.peers[index].name;
            let start = Instant::now();
            match self.measure(workload, index, round) {
                Ok(()) => eprintln!(
                    "round {}, {}, {name}: {:.1} s",
                    round + 1,
                    workload.name,
                    start.elapsed().as_secs_f64()
                ),
                Err(error) => {
                    eprintln!("round {}, {}, {name}: {error}", round + 1, workload.name);
                    self.failures
                        .insert(format!("{name}, {}: {error}", workload.name));
                }
            }
        }
    }

    fn measure(&mut self, workload: &'static Workload, index: usize, round: usize) -> Outcome {
        let peer = &self.peers[index];
        let settings = workload.settings(&self.settings);
        for data in workload.fixtures(peer, &settings) {
            let directory = fixture(&self.fixtures(), peer, data);
            if !directory.exists() {
                let prepared = self.process(peer, Task::Prepare(data), settings, None);
                if let Err(error) = prepared {
                    fs::remove_dir_all(&directory)?;
                    return Err(format!("loading: {error}").into());
                }
            }
        }
        let task = Task::Measure(workload.name.to_owned());
        let sample = self.process(peer, task.clone(), settings, None)?;
        let name = peer.name;
        let traced = match workload.traced_rows.filter(|_| round == 0) {
            Some(rows) => self
                .traced(peer, &task, settings)?
                .map(|costs| (rows, costs)),
            None => None,
        };
        self.check(workload.name, name, &sample)?;
        let traced = traced
            .into_iter()
            .flat_map(|(rows, costs)| rows.into_iter().zip(costs));
        let traced = traced.map(|(row, value)| (row.to_owned(), value));
        for (row, value) in sample.figures.into_iter().chain(traced) {
            let peers = self.figures.entry(row).or_default();
            peers.entry(name.to_owned()).or_default().push(value);
        }
        if !sample.points.is_empty() {
            self.points.insert(name.to_owned(), sample.points);
        }
        if !sample.windows.is_empty() {
            self.windows.insert(name.to_owned(), sample.windows);
        }
        Ok(())
    }

    fn fixtures(&self) -> PathBuf {
        self.directory.join("fixtures")
    }

    /// All peers with as many tokens must have read the same.
    fn check(&mut self, workload: &'static str, peer: &'static str, sample: &Sample) -> Outcome {
        let Some((count, sum)) = sample.checksum else {
            return Ok(());
        };
        let (expected, first) = *self
            .checksums
            .entry((workload, count))
            .or_insert((sum, peer));
        if sum == expected {
            Ok(())
        } else {
            Err(format!("read other values than {first}").into())
        }
    }

    /// Syncs, and bytes of whole blocks, a commit, when strace is installed.
    fn traced(&self, peer: &Peer, task: &Task, settings: Settings) -> Outcome<Option<[f64; 2]>> {
        let found = Command::new("strace").arg("-V").output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Ok(None);
        }
        let trace = self.directory.join("trace");
        let settings = Settings {
            commits: TRACED_COMMITS,
            ..settings
        };
        self.process(peer, task.clone(), settings, Some(&trace))?;
        let cost = trace::cost(&fs::read_to_string(&trace)?);
        let each = |count: u64| count as f64 / TRACED_COMMITS as f64;
        Ok(cost.map(|cost| {
            [
                each(cost.syncs),
                each(cost.blocks) * trace::BLOCK_LEN as f64,
            ]
        }))
    }

    /// Runs a job to its end in a process of its own, under strace when a trace is wanted.
    fn process(
        &self,
        peer: &Peer,
        task: Task,
        settings: Settings,
        trace: Option<&Path>,
    ) -> Outcome<Sample> {
        let scratch = tempfile::Builder::new()
            .prefix("scratch-")
            .tempdir_in(&self.directory)?;
        let job = Job {
            peer: peer.name.to_owned(),
            task,
            settings,
            fixtures: self.fixtures(),
            scratch: scratch.path().to_owned(),
        };
        let program = std::env::current_exe()?;
        let mut command = match trace {
            Some(trace) => {
                let mut command = Command::new("strace");
                command
                    .args(trace::OPTIONS)
                    .arg("-o")
                    .arg(trace)
                    .arg(program);
                command
            }
            None => Command::new(program),
        };
        let log = scratch.path().join("log");
        command
            .args(["job", &serde_json::to_string(&job)?])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?);
        self.wait(command)
            .map_err(|error| match fs::read_to_string(&log) {
                Ok(text) if !text.trim().is_empty() => {
                    let text = text.trim();
                    text.lines().next_back().unwrap_or(text).to_owned().into()
                }
                _ => error,
            })?;
        Ok(serde_json::from_slice(&fs::read(job.answer())?)?)
    }

    fn wait(&self, mut command: Command) -> Outcome {
        let start = Instant::now();
        let mut child = command.spawn()?;
        loop {
            if let Some(status) = child.try_wait()? {
                return match status.success() {
                    true => Ok(()),
                    false => Err(format!("ended with {status}").into()),
                };
            }
            if start.elapsed() > self.timeout {
                child.kill()?;
                child.wait()?;
                return Err(format!("given up after {} s", self.timeout.as_secs()).into());
            }
            thread::sleep(POLL);
        }
    }

    fn results(&self, arguments: &Arguments) -> Results {
        let summaries = |peers: &BTreeMap<String, Vec<f64>>| {
            peers
                .iter()
                .filter_map(|(peer, values)| Some((peer.clone(), Summary::of(values)?)))
                .collect()
        };
        let rows = self.figures.iter();
        Results {
            machine: machine::description(),
            settings: self.settings,
            rounds: arguments.size.rounds(),
            peers: self.peers.iter().map(PeerInfo::new).collect(),
            rows: rows
                .map(|(row, peers)| (row.clone(), summaries(peers)))
                .collect(),
            points: self.points.clone(),
            windows: self.windows.clone(),
            failures: self.failures.iter().cloned().collect(),
        }
    }
}
