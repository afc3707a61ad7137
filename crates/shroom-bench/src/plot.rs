//! Pictures: bars for each row, and latency over time, as SVG.

use std::fs;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::FontTransform;

use crate::results::{OURS, Results};
use crate::rows::{self, Row, Unit, shown};
use crate::sample::Window;
use crate::store::Outcome;
use crate::workloads::scale;

const OUR_COLOR: RGBColor = RGBColor(0x2a, 0x7f, 0x62);
const LIMIT_COLOR: RGBColor = RGBColor(0xb0, 0xb0, 0xb0);
const PEER_COLOR: RGBColor = RGBColor(0x8f, 0xa8, 0xc8);

/// A scale is logarithmic when the longest bar is so many times the shortest.
const LINEAR_MAX: f64 = 20.0;

const WIDTH: u32 = 760;
const BAR_HEIGHT: u32 = 26;
const FONT: &str = "sans-serif";

/// Draws every row that at least two peers are in, and the latencies; returns the names of the files.
pub(crate) fn all(results: &Results, directory: &Path) -> Outcome<Vec<String>> {
    fs::create_dir_all(directory)?;
    let mut names = Vec::new();
    for row in rows::ALL {
        let bars = bars(results, row);
        if bars.len() >= 2 {
            let name = format!("{}.svg", row.name);
            draw_bars(row, &bars, &directory.join(&name))?;
            names.push(name);
        }
    }
    for &(curve, title, unit) in &scale::CURVES {
        let lines = lines(results, curve);
        if !lines.is_empty() {
            let name = format!("scale-{curve}.svg");
            draw_curve(title, unit, &lines, &directory.join(&name))?;
            names.push(name);
        }
    }
    for (peer, windows) in &results.windows {
        let name = format!("latency-over-time-{}.svg", peer.to_lowercase());
        draw_latency(peer, windows, &directory.join(&name))?;
        names.push(name);
    }
    Ok(names)
}

struct Bar {
    name: String,
    value: f64,
    color: RGBColor,
}

/// The best first.
fn bars(results: &Results, row: &Row) -> Vec<Bar> {
    let mut bars: Vec<Bar> = results
        .peers
        .iter()
        .filter_map(|peer| {
            let value = results.get(row.name, &peer.name)?.median;
            let color = match peer.name.as_str() {
                OURS => OUR_COLOR,
                _ if peer.is_limit => LIMIT_COLOR,
                _ => PEER_COLOR,
            };
            Some(Bar {
                name: peer.name.clone(),
                value,
                color,
            })
        })
        .collect();
    bars.sort_by(|one, other| match row.unit.more_is_better() {
        true => other.value.total_cmp(&one.value),
        false => one.value.total_cmp(&other.value),
    });
    bars
}

/// Length of a bar as a share of the longest.
struct Scale {
    least: f64,
    greatest: f64,
    is_logarithmic: bool,
}

impl Scale {
    fn new(bars: &[Bar]) -> Self {
        let values = || bars.iter().map(|bar| bar.value);
        let greatest = values().fold(f64::MIN_POSITIVE, f64::max);
        let least = values().fold(greatest, f64::min);
        Self {
            least,
            greatest,
            is_logarithmic: least > 0.0 && greatest / least > LINEAR_MAX,
        }
    }

    fn share(&self, value: f64) -> f64 {
        if self.is_logarithmic {
            // The shortest bar keeps a twentieth, so that it can be seen.
            0.05 + 0.95 * (value / self.least).ln() / (self.greatest / self.least).ln()
        } else {
            (value / self.greatest).max(0.0)
        }
    }
}

fn draw_bars(row: &Row, bars: &[Bar], path: &Path) -> Outcome {
    const LEFT: i32 = 130;
    const RIGHT: i32 = 130;
    const TOP: i32 = 52;
    let scale = Scale::new(bars);
    let height = TOP as u32 + BAR_HEIGHT * bars.len() as u32 + 12;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let direction = match row.unit.more_is_better() {
        true => "more is better",
        false => "less is better",
    };
    let kind = if scale.is_logarithmic {
        ", logarithmic scale"
    } else {
        ""
    };
    let unit = row.unit.name();
    area.draw(&Text::new(
        row.title.trim_start_matches("... ").to_owned(),
        (12, 10),
        (FONT, 17).into_font(),
    ))?;
    area.draw(&Text::new(
        format!("{unit}; {direction}{kind}"),
        (12, 31),
        (FONT, 12).into_font().color(&BLACK.mix(0.6)),
    ))?;
    for (index, bar) in (0..).zip(bars) {
        let top = TOP + BAR_HEIGHT as i32 * index;
        let length = (f64::from(WIDTH as i32 - LEFT - RIGHT) * scale.share(bar.value)) as i32;
        let corners = [
            (LEFT, top + 3),
            (LEFT + length.max(1), top + BAR_HEIGHT as i32 - 3),
        ];
        area.draw(&Rectangle::new(corners, bar.color.filled()))?;
        area.draw(&Text::new(
            bar.name.clone(),
            (12, top + 6),
            (FONT, 14).into_font(),
        ))?;
        area.draw(&Text::new(
            shown(bar.value, row.unit),
            (LEFT + length + 6, top + 6),
            (FONT, 13).into_font(),
        ))?;
    }
    Ok(area.present()?)
}

/// A peer's values by number of tokens.
type Line<'r> = (&'r str, Vec<(f64, f64)>);

fn lines<'r>(results: &'r Results, curve: &str) -> Vec<Line<'r>> {
    let lines = results.points.iter().map(|(peer, points)| {
        let points = points.iter().filter(|point| point.curve == curve);
        let values = points.map(|point| (point.count as f64, point.value.max(f64::MIN_POSITIVE)));
        (peer.as_str(), values.collect::<Vec<_>>())
    });
    lines.filter(|(_, points)| !points.is_empty()).collect()
}

/// Both scales are logarithmic, and leave room around the points.
fn draw_curve(title: &str, unit: Unit, lines: &[Line<'_>], path: &Path) -> Outcome {
    let area = SVGBackend::new(path, (WIDTH, 320)).into_drawing_area();
    area.fill(&WHITE)?;
    let points = || lines.iter().flat_map(|(_, points)| points);
    let range = |value: fn(&(f64, f64)) -> f64, room: f64| {
        let least = points().map(value).fold(f64::MAX, f64::min);
        let greatest = points().map(value).fold(f64::MIN_POSITIVE, f64::max);
        (least / 1.5..greatest * room).log_scale()
    };
    // The names stand to the right of the last points.
    let (across, upward) = (range(|point| point.0, 5.0), range(|point| point.1, 1.5));
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{title} ({})", unit.name()), (FONT, 17))
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(across, upward)?;
    chart
        .configure_mesh()
        .x_desc("tokens")
        .x_label_formatter(&|value: &f64| shown(*value, Unit::Rate))
        .y_label_formatter(&|value: &f64| shown(*value, unit))
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    for (index, (peer, points)) in lines.iter().enumerate() {
        let color = match *peer {
            OURS => OUR_COLOR.to_rgba(),
            _ => Palette99::pick(index).to_rgba(),
        };
        let width = if *peer == OURS { 3 } else { 1 };
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                color.stroke_width(width),
            ))?
            .label(*peer)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(3)));
        let circles = points
            .iter()
            .map(|&point| Circle::new(point, 3, color.filled()));
        chart.draw_series(circles)?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .position(SeriesLabelPosition::MiddleRight)
        .draw()?;
    Ok(area.present()?)
}

/// Four lines over time, in microseconds, on a logarithmic scale.
fn draw_latency(peer: &str, windows: &[Window], path: &Path) -> Outcome {
    let area = SVGBackend::new(path, (WIDTH, 320)).into_drawing_area();
    area.fill(&WHITE)?;
    let end = windows
        .last()
        .map_or(1.0, |window| window.start_ms as f64 / 1e3 + 0.1);
    let greatest = windows.iter().map(|window| window.max).max().unwrap_or(1);
    let top = (greatest as f64 / 1e3).max(10_000.0) * 1.5;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            format!("{peer}: latency of puts and gets, each 100 ms"),
            (FONT, 17),
        )
        .margin(12)
        .x_label_area_size(32)
        .y_label_area_size(64)
        .build_cartesian_2d(0.0..end, (0.05..top).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("seconds")
        .y_desc("microseconds")
        .axis_desc_style((FONT, 12).into_font().transform(FontTransform::None))
        .y_label_formatter(&|value: &f64| match *value {
            value if value >= 1000.0 => format!("{:.0} ms", value / 1e3),
            value if value >= 1.0 => format!("{value:.0} us"),
            value => format!("{:.0} ns", value * 1e3),
        })
        .light_line_style(BLACK.mix(0.06))
        .draw()?;
    type Line = (&'static str, RGBColor, fn(&Window) -> u64);
    let lines: [Line; 4] = [
        ("max", RGBColor(0xc0, 0x39, 0x2b), |window| window.max),
        ("p99.9", RGBColor(0xe6, 0x7e, 0x22), |window| window.p999),
        ("p99", PEER_COLOR, |window| window.p99),
        ("p50", OUR_COLOR, |window| window.p50),
    ];
    for (name, color, value) in lines {
        let points = windows.iter().map(|window| {
            (
                window.start_ms as f64 / 1e3,
                value(window).max(1) as f64 / 1e3,
            )
        });
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(1)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .position(SeriesLabelPosition::UpperRight)
        .draw()?;
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::results;
    use crate::sample::Point;

    #[test]
    fn pictures_name_every_peer_and_value() {
        let mut found = results(&[
            ("put", OURS, 0.61),
            ("put", "HashMap", 0.4),
            ("put", "redb", 17.0),
            ("open", OURS, 0.1),
        ]);
        let window = |start_ms| Window {
            start_ms,
            operations: 10,
            p50: 500,
            p99: 2000,
            p999: 30_000,
            max: 4_000_000,
        };
        found
            .windows
            .insert(OURS.to_owned(), vec![window(0), window(100)]);
        let point = |count| Point {
            curve: "load".to_owned(),
            count,
            value: 1e6,
        };
        found
            .points
            .insert("redb".to_owned(), vec![point(1000), point(10_000)]);
        let directory = tempfile::tempdir().unwrap();
        let names = all(&found, directory.path()).unwrap();
        // One peer alone makes no comparison.
        let expected = ["put.svg", "scale-load.svg", "latency-over-time-shroom.svg"];
        assert_eq!(names, expected);
        let text = fs::read_to_string(directory.path().join("put.svg")).unwrap();
        for part in [
            "single put",
            "redb",
            "HashMap",
            "shroom",
            "0.61",
            "17",
            "logarithmic",
        ] {
            assert!(text.contains(part), "{part}");
        }
        let text = fs::read_to_string(directory.path().join(&names[2])).unwrap();
        assert!(text.contains("p99.9") && text.contains("seconds"));
    }

    #[test]
    fn a_wide_range_is_logarithmic_and_keeps_its_order() {
        let bars = |values: &[f64]| -> Vec<Bar> {
            let bar = |&value| Bar {
                name: String::new(),
                value,
                color: PEER_COLOR,
            };
            values.iter().map(bar).collect()
        };
        let narrow = Scale::new(&bars(&[1.0, 2.0, 10.0]));
        assert!(!narrow.is_logarithmic);
        assert_eq!(narrow.share(2.0), 0.2);
        let wide = Scale::new(&bars(&[1.0, 10.0, 10_000.0]));
        assert!(wide.is_logarithmic);
        assert!(wide.share(1.0) > 0.0 && wide.share(1.0) < wide.share(10.0));
        assert!((wide.share(10_000.0) - 1.0).abs() < 1e-9);
        // A zero has no logarithm.
        assert!(!Scale::new(&bars(&[0.0, 100.0])).is_logarithmic);
    }
}
