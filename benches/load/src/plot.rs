//! Two plots in one SVG: processor time per delivery, and bytes per connection, against the number of subscribers.

use std::fmt::Write as _;

use crate::report::Report;
use crate::scenarios::{Size, thousands};
use crate::servers::Kind;

const WIDTH: f64 = 430.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 64.0;
const TOP: f64 = 40.0;
const PANEL: f64 = 330.0;

/// The colour of a server; all are distinguishable with colour blindness (Okabe and Ito).
const fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Floor => "#999999",
        Kind::FloorJoined => "#555555",
        Kind::Airlay => "#d55e00",
        Kind::Tungstenite => "#0072b2",
        Kind::Fastwebsockets => "#009e73",
        Kind::Nchan => "#cc79a7",
    }
}

/// The line of each server: points of subscribers and value.
type Lines = Vec<(Kind, Vec<(f64, f64)>)>;

pub(crate) fn draw(report: &Report, size: Size) -> String {
    let lines = |row: &dyn Fn(usize) -> String, unit: &str| -> Lines {
        let points = |kind| {
            let value = |&count: &usize| Some((count as f64, report.median(&row(count), unit, kind)?));
            size.subscribers.iter().filter_map(value).filter(|&(_, value)| value >= 1.0).collect::<Vec<_>>()
        };
        Kind::ALL
            .into_iter()
            .map(|kind| (kind, points(kind)))
            .filter(|(_, points)| !points.is_empty())
            .collect()
    };
    let burst = |count: usize| {
        format!("burst of {} events, {} subscribers", (size.burst / count).max(1), thousands(count))
    };
    let memory = |count| format!("memory a connection, {} on one topic", thousands(count));
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        2.0 * WIDTH,
        HEIGHT + 2.0 * TOP
    );
    let cpu = lines(&burst, "ns CPU a delivery");
    panel(&mut svg, 0.0, "burst: CPU a delivery, ns", &cpu);
    panel(&mut svg, WIDTH, "user-space bytes a connection", &lines(&memory, "bytes in user space"));
    for (place, (kind, _)) in cpu.iter().enumerate() {
        let x = LEFT + 130.0 * place as f64;
        let y = HEIGHT + TOP + 28.0;
        line(&mut svg, *kind, &format!("{x},{y} {},{y}", x + 20.0));
        text(&mut svg, x + 26.0, y + 4.0, "start", kind.name());
    }
    svg.push_str("</svg>\n");
    svg
}

/// One plot, both axes logarithmic.
fn panel(svg: &mut String, offset: f64, title: &str, lines: &Lines) {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let range = |of: fn(&(f64, f64)) -> f64| {
        let values = points().map(of);
        let (lowest, highest) =
            values.fold((f64::INFINITY, 0.0_f64), |(low, high), it| (low.min(it), high.max(it)));
        (lowest.log10().floor(), highest.log10().ceil())
    };
    if points().next().is_none() {
        return;
    }
    let (x_range, y_range) = (range(|point| point.0), range(|point| point.1));
    let place = |value: f64, (low, high): (f64, f64), length: f64| {
        (value.log10() - low) / (high - low).max(1.0) * length
    };
    let x = |value| offset + LEFT + place(value, x_range, PANEL);
    let y = |value| TOP + HEIGHT - 40.0 - place(value, y_range, HEIGHT - 60.0);
    text(svg, offset + LEFT, TOP - 14.0, "start", title);
    let decades = |(low, high): (f64, f64)| (low as i32..=high as i32).map(|power| 10_f64.powi(power));
    for decade in decades(y_range) {
        let at = y(decade);
        rule(svg, (x(10_f64.powf(x_range.0)), at), (x(10_f64.powf(x_range.1)), at));
        text(svg, offset + LEFT - 6.0, at + 4.0, "end", &thousands(decade as usize));
    }
    for decade in decades(x_range) {
        let at = x(decade);
        rule(svg, (at, y(10_f64.powf(y_range.0))), (at, y(10_f64.powf(y_range.1))));
        text(svg, at, TOP + HEIGHT - 22.0, "middle", &thousands(decade as usize));
    }
    text(svg, offset + LEFT + PANEL / 2.0, TOP + HEIGHT - 4.0, "middle", "subscribers");
    for (kind, points) in lines {
        let path: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        line(svg, *kind, &path.join(" "));
        for point in points {
            let (x, y) = (x(point.0), y(point.1));
            writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{}\"/>", colour(*kind))
                .expect("memory takes all text");
        }
    }
}

fn line(svg: &mut String, kind: Kind, points: &str) {
    let width = if kind == Kind::Airlay { 3 } else { 1 };
    let colour = colour(kind);
    writeln!(
        svg,
        "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
    )
    .expect("memory takes all text");
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#dddddd\"/>",
        from.0, from.1, to.0, to.1
    )
    .expect("memory takes all text");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{content}</text>")
        .expect("memory takes all text");
}
