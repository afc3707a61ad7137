//! One process's work: load a store for others, or run one peer in one workload. It answers in a file.

use std::fs;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::context::{Context, Settings, prepare};
use crate::data::Data;
use crate::peer;
use crate::sample::Sample;
use crate::store::Outcome;
use crate::workload;

/// What a process is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) peer: String,
    pub(crate) task: Task,
    pub(crate) settings: Settings,
    pub(crate) fixtures: PathBuf,
    /// An empty directory of its own. The answer goes there.
    pub(crate) scratch: PathBuf,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// Load a store.
    Prepare(Data),
    /// Run the workload of a name.
    Measure(String),
}

impl Job {
    /// The file with the answer, a [`Sample`].
    pub(crate) fn answer(&self) -> PathBuf {
        self.scratch.join("sample.json")
    }
}

/// Does a job, given as JSON.
pub(crate) fn run(text: &str) -> Outcome {
    let job: Job = serde_json::from_str(text)?;
    let peer = peer::named(&job.peer).ok_or("no such peer is built in")?;
    let sample = match &job.task {
        Task::Prepare(data) => {
            prepare(&job.fixtures, &peer, *data)?;
            Sample::default()
        }
        Task::Measure(name) => {
            let workload = workload::named(name).ok_or("there is no such workload")?;
            let mut context = Context {
                peer,
                settings: job.settings,
                fixtures: job.fixtures.clone(),
                scratch: job.scratch.clone(),
                sample: Sample::default(),
            };
            (workload.run)(&mut context)?;
            context.sample
        }
    };
    fs::write(job.answer(), serde_json::to_vec(&sample)?)?;
    Ok(())
}
