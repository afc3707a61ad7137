//! The figures of a whole run: medians by row and peer, held against the targets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::context::Settings;
use crate::peer::Peer;
use crate::rows::{self, Row, Target};
use crate::sample::{Point, Window};
use crate::statistics::Summary;

/// The engine that is compared.
pub(crate) const OURS: &str = "shroom";

/// A peer as it ran.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PeerInfo {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) settings: String,
    pub(crate) is_limit: bool,
}

impl PeerInfo {
    pub(crate) fn new(peer: &Peer) -> Self {
        Self {
            name: peer.name.to_owned(),
            version: peer.version(),
            settings: peer.settings.to_owned(),
            is_limit: peer.is_limit,
        }
    }
}

/// All that a run found out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: String,
    pub(crate) settings: Settings,
    pub(crate) rounds: usize,
    pub(crate) peers: Vec<PeerInfo>,
    /// By row, then by peer.
    pub(crate) rows: BTreeMap<String, BTreeMap<String, Summary>>,
    /// Figures by number of tokens, by peer.
    #[serde(default)]
    pub(crate) points: BTreeMap<String, Vec<Point>>,
    /// Latency over time, by peer.
    pub(crate) windows: BTreeMap<String, Vec<Window>>,
    /// What could not be measured, and why.
    pub(crate) failures: Vec<String>,
}

/// How we stand to one target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) target: Target,
    /// What the target comes to in this run: the value not to be exceeded, or to be reached.
    pub(crate) bound: f64,
    pub(crate) is_met: bool,
}

impl Results {
    pub(crate) fn get(&self, row: &str, peer: &str) -> Option<&Summary> {
        self.rows.get(row)?.get(peer)
    }

    fn is_limit(&self, name: &str) -> bool {
        self.peers
            .iter()
            .any(|peer| peer.name == name && peer.is_limit)
    }

    /// The best of the others, limits aside: name and median.
    pub(crate) fn best_peer(&self, row: &Row) -> Option<(&str, f64)> {
        let others = self
            .rows
            .get(row.name)?
            .iter()
            .filter(|(name, _)| *name != OURS && !self.is_limit(name));
        let medians = others.map(|(name, summary)| (name.as_str(), summary.median));
        if row.unit.more_is_better() {
            medians.max_by(|one, other| one.1.total_cmp(&other.1))
        } else {
            medians.min_by(|one, other| one.1.total_cmp(&other.1))
        }
    }

    /// The limit's name and median.
    pub(crate) fn limit(&self, row: &Row) -> Option<(&str, f64)> {
        let mut all = self.rows.get(row.name)?.iter();
        all.find(|(name, _)| self.is_limit(name))
            .map(|(name, summary)| (name.as_str(), summary.median))
    }

    /// Each target of a row, as far as what it refers to was measured.
    pub(crate) fn verdicts(&self, row: &Row) -> Vec<Verdict> {
        let Some(ours) = self.get(row.name, OURS) else {
            return Vec::new();
        };
        let verdicts = row.targets.iter().filter_map(|&target| {
            let bound = match target {
                Target::AtMost(bound) | Target::AtLeast(bound) => bound,
                Target::Peer(peer, factor) => self.get(row.name, peer)?.median * factor,
                Target::Best(factor) => self.best_peer(row)?.1 * factor,
                Target::Row(other, factor) => self.get(other, OURS)?.median * factor,
            };
            let is_met = if row.unit.more_is_better() {
                ours.median >= bound
            } else {
                ours.median <= bound
            };
            Some(Verdict {
                target,
                bound,
                is_met,
            })
        });
        verdicts.collect()
    }

    /// Targets met, and targets that could be judged.
    pub(crate) fn met(&self) -> (usize, usize) {
        let verdicts: Vec<_> = rows::ALL
            .iter()
            .flat_map(|row| self.verdicts(row))
            .collect();
        (
            verdicts.iter().filter(|verdict| verdict.is_met).count(),
            verdicts.len(),
        )
    }

    /// Adds what an earlier run measured and this one did not, so that a table can be made of several runs of the same settings.
    pub(crate) fn take_over(&mut self, earlier: Self) {
        for (row, peers) in earlier.rows {
            let own = self.rows.entry(row).or_default();
            for (peer, summary) in peers {
                own.entry(peer).or_insert(summary);
            }
        }
        for (peer, points) in earlier.points {
            self.points.entry(peer).or_insert(points);
        }
        for (peer, windows) in earlier.windows {
            self.windows.entry(peer).or_insert(windows);
        }
        for peer in earlier.peers {
            if self.peers.iter().all(|own| own.name != peer.name) {
                self.peers.push(peer);
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::data::Sizes;

    /// Results with some rows: (row, peer, median).
    pub(crate) fn results(figures: &[(&str, &str, f64)]) -> Results {
        let mut rows: BTreeMap<String, BTreeMap<String, Summary>> = BTreeMap::new();
        let mut peers = Vec::new();
        for &(row, peer, median) in figures {
            let summary = Summary::of(&[median * 0.9, median, median * 1.1]).unwrap();
            rows.entry(row.to_owned())
                .or_default()
                .insert(peer.to_owned(), summary);
            if peers.iter().all(|info: &PeerInfo| info.name != peer) {
                peers.push(PeerInfo {
                    name: peer.to_owned(),
                    version: "1".to_owned(),
                    settings: "none".to_owned(),
                    is_limit: ["HashMap", "bare"].contains(&peer),
                });
            }
        }
        Results {
            machine: "a machine".to_owned(),
            settings: Settings {
                count: 10,
                sizes: Sizes::Mixed,
                commits: 1,
                scale_max: 1,
                seconds: 1.0,
            },
            rounds: 3,
            peers,
            rows,
            points: BTreeMap::new(),
            windows: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    fn met(row: &str, results: &Results) -> Vec<bool> {
        let row = rows::ALL.iter().find(|known| known.name == row).unwrap();
        let verdicts = results.verdicts(row);
        verdicts.iter().map(|verdict| verdict.is_met).collect()
    }

    #[test]
    fn targets_are_judged_in_the_right_direction() {
        let found = results(&[
            ("bulk-rate", OURS, 10.0),
            ("bulk-rate", "RocksDB", 9.0),
            ("bulk-overhead", OURS, 5.0),
            ("load-rate", OURS, 19.0),
            ("load-rate", "HashMap", 1000.0),
            ("load-rate", "redb", 10.0),
            ("load-rate", "LMDB", 4.0),
            ("get-random", OURS, 100.0),
            ("get-random", "HashMap", 90.0),
            ("get-fresh", OURS, 109.0),
            ("scan-dense", OURS, 41e6),
            ("durable-p50", OURS, 100.0),
            ("durable-p50", "bare", 99.0),
            ("durable-p50", "RocksDB", 90.0),
        ]);
        assert_eq!(met("bulk-rate", &found), [true]);
        assert_eq!(met("bulk-overhead", &found), [true]);
        assert_eq!(met("load-rate", &found), [false]);
        assert_eq!(met("get-random", &found), [false]);
        assert_eq!(met("get-fresh", &found), [true]);
        assert_eq!(met("scan-dense", &found), [true]);
        assert_eq!(met("durable-p50", &found), [true, false]);
        assert_eq!(met("put", &found), [] as [bool; 0]);
        assert_eq!(found.met(), (5, 8));
    }

    #[test]
    fn an_earlier_run_fills_gaps_only() {
        let mut now = results(&[("put", OURS, 1.0)]);
        now.take_over(results(&[
            ("put", OURS, 2.0),
            ("put", "redb", 3.0),
            ("open", OURS, 4.0),
        ]));
        assert_eq!(now.get("put", OURS).unwrap().median, 1.0);
        assert_eq!(now.get("put", "redb").unwrap().median, 3.0);
        assert_eq!(now.get("open", OURS).unwrap().median, 4.0);
        assert_eq!(now.peers.len(), 2);
    }
}
