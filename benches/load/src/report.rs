//! The figures of all rounds → a table of medians, ranges and ratios, with a verdict on each goal.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::servers::Kind;

/// The goal of a row. Ratios compare figures of the same round.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
    /// At most this multiple of the floor.
    Floor(f64),
    /// At most this multiple of the joined floor.
    FloorJoined(f64),
    /// At most this multiple of the lower floor.
    Floors(f64),
}

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    unit: &'static str,
    goal: Goal,
    /// One value per round.
    values: BTreeMap<Kind, Vec<f64>>,
}

impl Report {
    pub(crate) fn note(&mut self, name: &str, unit: &'static str, goal: Goal, kind: Kind, value: f64) {
        let place = self.rows.iter().position(|row| row.name == name && row.unit == unit);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row { name: name.to_owned(), unit, goal, values: BTreeMap::new() });
            self.rows.len() - 1
        });
        self.rows[place].values.entry(kind).or_default().push(value);
    }

    /// The median of a row for a server.
    pub(crate) fn median(&self, name: &str, unit: &str, kind: Kind) -> Option<f64> {
        let row = self.rows.iter().find(|row| row.name == name && row.unit == unit)?;
        Some(median(row.values.get(&kind)?))
    }

    /// A Markdown table: medians, with the lowest and highest of several values, ratios, and goals with their verdicts.
    pub(crate) fn table(&self) -> String {
        let kinds: Vec<Kind> = Kind::ALL
            .into_iter()
            .filter(|kind| self.rows.iter().any(|row| row.values.contains_key(kind)))
            .collect();
        let mut text = "| |".to_owned();
        for kind in &kinds {
            write!(text, " {} |", kind.name()).expect("memory takes all text");
        }
        text.push_str(" airlay's ratio | goal |\n|---|");
        text.push_str(&"---|".repeat(kinds.len() + 2));
        text.push('\n');
        for row in &self.rows {
            write!(text, "| {}, {} |", row.name, row.unit).expect("memory takes all text");
            for kind in &kinds {
                let cell = row.values.get(kind).map_or_else(String::new, |values| cell(values));
                write!(text, " {cell} |").expect("memory takes all text");
            }
            let (ratio, verdict) = row.judge();
            writeln!(text, " {ratio} | {verdict} |").expect("memory takes all text");
        }
        text
    }
}

impl Row {
    /// The ratio that the goal limits, and the goal with its verdict.
    fn judge(&self) -> (String, String) {
        let ratio = |most: f64, floors: &[Kind]| {
            let ratios = self.ratios(floors);
            if ratios.is_empty() {
                return (String::new(), format!("≤ {most} ×"));
            }
            (cell(&ratios), verdict(format!("≤ {most} ×"), median(&ratios) <= most))
        };
        let own = self.values.get(&Kind::Airlay).map(|values| median(values));
        let absolute = |text: String, met: &dyn Fn(f64) -> bool| {
            (String::new(), own.map_or(text.clone(), |value| verdict(text, met(value))))
        };
        match self.goal {
            Goal::None => (String::new(), String::new()),
            Goal::AtMost(most) => absolute(format!("≤ {most}"), &|value| value <= most),
            Goal::AtLeast(least) => absolute(format!("≥ {least}"), &|value| value >= least),
            Goal::Floor(most) => ratio(most, &[Kind::Floor]),
            Goal::FloorJoined(most) => ratio(most, &[Kind::FloorJoined]),
            Goal::Floors(most) => ratio(most, &[Kind::Floor, Kind::FloorJoined]),
        }
    }

    /// For each round, the server's figure divided by the lowest of these floors'.
    fn ratios(&self, floors: &[Kind]) -> Vec<f64> {
        let own = self.values.get(&Kind::Airlay).map_or(&[][..], Vec::as_slice);
        let of_round = |round: usize| {
            let floors = floors.iter().filter_map(|kind| self.values.get(kind)?.get(round).copied());
            floors.reduce(f64::min).map(|floor| own[round] / floor)
        };
        (0..own.len()).filter_map(of_round).collect()
    }
}

fn verdict(goal: String, met: bool) -> String {
    format!("{goal}: {}", if met { "met" } else { "**not met**" })
}

fn cell(values: &[f64]) -> String {
    let middle = number(median(values));
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match values.len() {
        1 => middle,
        _ => format!("{middle} ({}–{})", number(lowest), number(highest)),
    }
}

/// Rounds to three significant digits; from 100 on, to a whole number.
fn number(value: f64) -> String {
    match value.abs() {
        ..0.0005 => format!("{value:.0}"),
        ..10.0 => format!("{value:.2}"),
        ..100.0 => format!("{value:.1}"),
        _ => crate::scenarios::thousands(value.round() as usize),
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_round_by_round() {
        let mut report = Report::default();
        for (floor, joined, own) in [(10.0, 5.0, 11.0), (20.0, 40.0, 22.0), (10.0, 9.0, 30.0)] {
            report.note("row", "ns", Goal::Floor(1.1), Kind::Floor, floor);
            report.note("row", "ns", Goal::Floor(1.1), Kind::FloorJoined, joined);
            report.note("row", "ns", Goal::Floor(1.1), Kind::Airlay, own);
        }
        assert_eq!(report.rows[0].ratios(&[Kind::Floor]), [1.1, 1.1, 3.0]);
        assert_eq!(report.rows[0].ratios(&[Kind::Floor, Kind::FloorJoined])[0], 2.2);
        assert_eq!(report.median("row", "ns", Kind::Airlay), Some(22.0));
        assert!(report.table().contains("| row, ns | 10.0 (10.0–20.0) | 9.00 (5.00–40.0) | 22.0 (11.0–30.0) | 1.10 (1.10–3.00) | ≤ 1.1 ×: met |"), "{}", report.table());
    }

    #[test]
    fn the_median_of_an_even_number_is_the_middle() {
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
