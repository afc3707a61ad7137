//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::context::Settings;
use crate::data::Sizes;
use crate::peer::{self, Peer};
use crate::store::Outcome;
use crate::workload::{self, Workload};

/// Measures ShroomDB beside its peers, and draws the comparison.
///
/// Each peer runs each workload in a process of its own, in turn, for several rounds; medians count. Peers are built in by features
/// of their names: `--features all` for all of them.
#[derive(Debug, Parser)]
#[command(name = "shroom-bench", args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) size: Size,

    /// Peers to run, by name, separated by commas: all that are built in, when left out
    #[arg(long, value_delimiter = ',')]
    pub(crate) peers: Vec<String>,

    /// Workloads to run, by name, separated by commas: all but `scale`, when left out
    #[arg(long, value_delimiter = ',')]
    pub(crate) workloads: Vec<String>,

    /// List peers and workloads, and do nothing
    #[arg(long)]
    pub(crate) list: bool,

    /// Where the stores are made; choose a real disk. The system's temporary directory, when left out
    #[arg(long)]
    pub(crate) directory: Option<PathBuf>,

    /// Where table, figures and pictures go
    #[arg(long, default_value = "docs/benchmarks")]
    pub(crate) output: PathBuf,

    /// Measure nothing: make table and pictures again from the figures in the output directory
    #[arg(long, conflicts_with = "keep")]
    pub(crate) render: bool,

    /// Take over from the figures in the output directory what this run does not measure; its settings must be the same
    #[arg(long)]
    pub(crate) keep: bool,

    /// Seconds after which a process is given up
    #[arg(long, default_value_t = 900)]
    pub(crate) timeout: u64,

    #[command(subcommand)]
    pub(crate) internal: Option<Internal>,
}

/// How much is done.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Size {
    /// Tokens [default: 1000000; quick: 20000]
    #[arg(long, value_name = "N")]
    n: Option<u64>,

    /// Lengths of the values
    #[arg(long, value_enum, default_value_t = Sizes::Mixed)]
    sizes: Sizes,

    /// Rounds [default: 3; quick: 1]
    #[arg(long)]
    rounds: Option<usize>,

    /// Durable commits, each timed [default: 500; quick: 50]
    #[arg(long)]
    commits: Option<u64>,

    /// Length of the latency workload [default: 60; quick: 2]
    #[arg(long)]
    seconds: Option<f64>,

    /// With the scale workload: stores of up to a hundred times the tokens, not ten times
    #[arg(long)]
    long: bool,

    /// Few tokens, one round, and the short workloads only, unless others are named
    #[arg(long)]
    quick: bool,
}

/// What this program starts itself for.
#[derive(Debug, Subcommand)]
pub(crate) enum Internal {
    /// One peer in one workload
    #[command(hide = true)]
    Job {
        /// What to do, as JSON
        job: String,
    },
    /// One operation for callgrind: see `cargo xtask bench --counts`
    #[command(hide = true)]
    Count {
        /// Its name; lists all when left out
        operation: Option<String>,
    },
}

impl Size {
    pub(crate) fn settings(&self) -> Settings {
        let choose = |usual, quick| if self.quick { quick } else { usual };
        Settings {
            count: self.n.unwrap_or(choose(1_000_000, 20_000)).max(1),
            sizes: self.sizes,
            commits: self.commits.unwrap_or(choose(500, 50)),
            scale_max: if self.long { 100 } else { 10 },
            seconds: self.seconds.unwrap_or(if self.quick { 2.0 } else { 60.0 }),
        }
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }
}

impl Arguments {
    /// The chosen peers, in the usual order.
    pub(crate) fn chosen_peers(&self) -> Outcome<Vec<Peer>> {
        let mut peers = peer::all();
        let is_called = |peer: &Peer, name: &String| peer.name.eq_ignore_ascii_case(name.as_str());
        if let Some(unknown) = self
            .peers
            .iter()
            .find(|name| !peers.iter().any(|peer| is_called(peer, name)))
        {
            let names: Vec<_> = peers.iter().map(|peer| peer.name).collect();
            return Err(format!(
                "no peer '{unknown}' is built in; there are {}. Others need their feature: --features all",
                names.join(", ")
            )
            .into());
        }
        if !self.peers.is_empty() {
            peers.retain(|peer| self.peers.iter().any(|name| is_called(peer, name)));
        }
        Ok(peers)
    }

    /// The chosen workloads, in the usual order.
    pub(crate) fn chosen_workloads(&self) -> Outcome<Vec<&'static Workload>> {
        if let Some(unknown) = self
            .workloads
            .iter()
            .find(|name| workload::named(name).is_none())
        {
            return Err(format!("there is no workload '{unknown}'; --list shows them").into());
        }
        let is_chosen = |workload: &&Workload| match self.workloads.is_empty() {
            true => !(workload.is_on_request || self.size.quick && workload.is_long),
            false => self.workloads.iter().any(|name| name == workload.name),
        };
        Ok(workload::ALL.iter().filter(is_chosen).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parsed(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn peers_and_workloads_are_chosen_by_name() {
        let arguments = parsed("b --peers hashmap,SHROOM --workloads put,bulk --n 77 --rounds 2");
        let names: Vec<_> = arguments
            .chosen_peers()
            .unwrap()
            .iter()
            .map(|peer| peer.name)
            .collect();
        assert_eq!(names, ["shroom", "HashMap"]);
        let names: Vec<_> = arguments
            .chosen_workloads()
            .unwrap()
            .iter()
            .map(|workload| workload.name)
            .collect();
        assert_eq!(names, ["bulk", "put"]);
        assert_eq!(arguments.size.settings().count, 77);
        assert_eq!(arguments.size.rounds(), 2);
        assert!(parsed("b --peers nobody").chosen_peers().is_err());
        assert!(parsed("b --workloads nothing").chosen_workloads().is_err());
    }

    #[test]
    fn quick_is_smaller_and_leaves_out_what_is_long() {
        let (usual, quick) = (parsed("b"), parsed("b --quick"));
        assert!(quick.size.settings().count < usual.size.settings().count);
        let usual = usual.chosen_workloads().unwrap();
        assert!(usual.iter().any(|workload| workload.is_long));
        assert!(usual.iter().all(|workload| !workload.is_on_request));
        let quick = quick.chosen_workloads().unwrap();
        assert!(!quick.is_empty() && quick.iter().all(|workload| !workload.is_long));
        let named = parsed("b --quick --workloads latency").chosen_workloads();
        assert_eq!(named.unwrap().len(), 1);
    }
}
