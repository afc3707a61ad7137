//! The results as text: a table of the targets, a table of all peers, and the peers' versions and settings.

use std::fmt::Write;

use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::results::{OURS, PeerInfo, Results};
use crate::rows::{self, Row, Target, shown};

/// Everything, as a page of Markdown that reads well in a terminal, too.
pub(crate) fn page(results: &Results) -> String {
    let settings = &results.settings;
    let mut page = String::from("# Benchmarks\n\n");
    let _ = writeln!(
        page,
        "Made by `cargo run --release -p shroom-bench`; `results.json` beside this page has every figure. {} tokens, sizes {:?}, medians of up to {} rounds; {}.\n",
        settings.count, settings.sizes, results.rounds, results.machine
    );
    let (met, judged) = results.met();
    let _ = writeln!(
        page,
        "## Targets: {met} of {judged} met\n\n{}\n",
        targets(results)
    );
    let _ = writeln!(page, "## All peers\n\n{}\n", peers(results));
    let _ = writeln!(page, "## Versions and settings\n\n{}", settings_of(results));
    if !results.failures.is_empty() {
        let _ = writeln!(page, "\n## Not measured\n");
        for failure in &results.failures {
            let _ = writeln!(page, "- {failure}");
        }
    }
    page
}

fn table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn measured(results: &Results) -> impl Iterator<Item = &'static Row> {
    rows::ALL
        .iter()
        .filter(|row| results.rows.contains_key(row.name))
}

fn title(row: &Row) -> String {
    format!("{} ({})", row.title, row.unit.name())
}

fn targets(results: &Results) -> String {
    let header = [
        "workload",
        "shroom",
        "+-",
        "limit",
        "best peer",
        "shroom / best",
        "target",
        "",
    ];
    let mut table = table(header.map(str::to_owned).to_vec());
    for row in measured(results) {
        let Some(ours) = results.get(row.name, OURS) else {
            continue;
        };
        let verdicts = results.verdicts(row);
        let bounds: Vec<_> = verdicts
            .iter()
            .map(|verdict| wanted(row, verdict.target, verdict.bound))
            .collect();
        let judgement = match verdicts.iter().filter(|verdict| !verdict.is_met).count() {
            _ if verdicts.is_empty() => "",
            0 => "met",
            _ => "falls short",
        };
        let best = results.best_peer(row);
        table.add_row([
            title(row),
            shown(ours.median, row.unit),
            match ours.rounds {
                1 => String::new(),
                _ => format!("{:.0} %", ours.spread() * 100.0),
            },
            results
                .limit(row)
                .map_or_else(String::new, |(_, median)| shown(median, row.unit)),
            best.map_or_else(String::new, |(name, median)| {
                format!("{} {name}", shown(median, row.unit))
            }),
            best.filter(|(_, median)| *median > 0.0)
                .map_or_else(String::new, |(_, median)| {
                    format!("{:.2} x", ours.median / median)
                }),
            bounds.join(", "),
            judgement.to_owned(),
        ]);
    }
    table.trim_fmt()
}

/// A target in words, with what it comes to.
fn wanted(row: &Row, target: Target, bound: f64) -> String {
    let relation = if row.unit.more_is_better() {
        ">="
    } else {
        "<="
    };
    let bound = shown(bound, row.unit);
    match target {
        Target::AtMost(_) | Target::AtLeast(_) => format!("{relation} {bound}"),
        Target::Peer(name, factor) => format!("{relation} {factor} x {name} = {bound}"),
        Target::Best(factor) => format!("{relation} {factor} x best = {bound}"),
        Target::Row(_, factor) => format!("{relation} {factor} x reused = {bound}"),
    }
}

fn peers(results: &Results) -> String {
    let names: Vec<_> = results.peers.iter().map(|peer| peer.name.clone()).collect();
    let mut header = vec!["workload".to_owned()];
    header.extend(names.iter().cloned());
    let mut table = table(header);
    for row in measured(results) {
        let mut cells = vec![title(row)];
        cells.extend(names.iter().map(|name| {
            results
                .get(row.name, name)
                .map_or_else(String::new, |summary| shown(summary.median, row.unit))
        }));
        table.add_row(cells);
    }
    table.trim_fmt()
}

fn settings_of(results: &Results) -> String {
    let mut text = String::new();
    for PeerInfo {
        name,
        version,
        settings,
        ..
    } in &results.peers
    {
        let space = if version.is_empty() { "" } else { " " };
        let _ = writeln!(text, "- **{name}{space}{version}**: {settings}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;

    #[test]
    fn the_page_has_each_figure_and_verdict() {
        let mut found = results(&[
            ("put", OURS, 0.61),
            ("put", "HashMap", 0.4),
            ("put", "redb", 17.0),
            ("bulk-rate", OURS, 5e6),
            ("bulk-rate", "RocksDB", 5e6),
        ]);
        found.failures.push("persy, churn: too slow".to_owned());
        let page = page(&found);
        let line = |start: &str| {
            let line = page.lines().find(|line| line.contains(start)).unwrap();
            line.split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(
            line("single put"),
            "| single put, own commit, not synced (us) | 0.61 | 10 % | 0.40 | 17 redb | 0.04 x | <= 0.70 | met |"
        );
        assert!(line("bulk load").ends_with("| >= 1.1 x RocksDB = 5.50 M | falls short |"));
        assert!(page.contains("Targets: 1 of 2 met"));
        assert!(page.contains("- **redb 1**: none"));
        assert!(page.contains("- persy, churn: too slow"));
    }
}
