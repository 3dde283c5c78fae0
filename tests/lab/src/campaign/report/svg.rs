//! The picture: outage by kind of fault, one dot per fault, on a logarithmic axis. It stands by itself, and its colours follow
//! the reader's choice of light or dark.

use std::fmt::Write;

use super::spread::seconds;
use super::title::title;
use super::{Made, Summary};
use crate::campaign::fault::Kind;

// Pixels.
const WIDTH: f64 = 960.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 30.0;
const TOP: f64 = 96.0;
const ROW: f64 = 28.0;
const BOTTOM: f64 = 16.0;
const RADIUS: f64 = 4.5;
/// Dots of a row lie at different heights, so that equal ones do not hide each other.
const HEIGHTS: [f64; 5] = [0.0, -5.0, 5.0, -2.5, 2.5];

/// The least outage that the axis shows, in milliseconds: the decade in which rows follow each other without an outage.
const LEAST_MS: u64 = 10;
/// The axis goes at least as far, so that pictures can be compared.
const MOST_MS: u64 = 100_000;

const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.head{font-size:16px;font-weight:600}\
    .grid{stroke:#d0d7de}.median{stroke:#1f2328;stroke-width:2}.dot,.key{fill:#0969da;stroke:#0969da;stroke-width:1.5}\
    .pair{fill-opacity:0}.lost{fill:#cf222e;stroke:#cf222e}.unknown{fill:#8c959f;stroke:#8c959f}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#3d444d}.median{stroke:#e6edf3}\
    .dot,.key{fill:#58a6ff;stroke:#58a6ff}.lost{fill:#ff7b72;stroke:#ff7b72}.unknown{fill:#8b949e;stroke:#8b949e}}";

/// What the marks mean: a dot's further class, and its meaning.
const KEYS: [(&str, &str); 4] =
    [("", "alone"), ("pair", "in a pair"), ("lost", "rows lost"), ("unknown", "outage not measured")];

/// From milliseconds to pixels.
struct Axis {
    most_ms: u64,
}

impl Axis {
    fn of(summary: &Summary) -> Self {
        let worst = summary.faults.iter().filter_map(|fault| fault.outage_ms).max().unwrap_or_default();
        let mut most_ms = MOST_MS;
        while most_ms < worst {
            most_ms *= 10;
        }
        Self { most_ms }
    }

    fn x(&self, ms: u64) -> f64 {
        let (least, most) = (log(LEAST_MS), log(self.most_ms));
        LEFT + (log(ms.max(LEAST_MS)) - least) / (most - least) * (WIDTH - LEFT - RIGHT)
    }

    fn decades(&self) -> impl Iterator<Item = u64> {
        let most = self.most_ms;
        std::iter::successors(Some(LEAST_MS), |ms| Some(ms * 10)).take_while(move |ms| *ms <= most)
    }
}

fn log(ms: u64) -> f64 {
    f64::from(u32::try_from(ms).unwrap_or(u32::MAX)).log10()
}

pub(super) fn picture(summary: &Summary) -> String {
    let (axis, lines) = (Axis::of(summary), summary.lines());
    let mut marks = String::new();
    let mut y = TOP;
    for (kind, line) in &lines {
        y += ROW;
        marks += &row(summary, *kind, &axis, y);
        if let Some(spread) = line.outage_ms {
            let (x, top, bottom) = (axis.x(spread.median), y - 9.0, y + 9.0);
            let _ = writeln!(marks, r#"<path class="median" d="M{x:.1} {top:.1}V{bottom:.1}"/>"#);
        }
    }
    let height = y + ROW / 2.0 + BOTTOM;
    let label = escaped(&format!("write outage by kind of fault, {} on {} nodes", summary.agent, summary.nodes));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{label}\">\n<style>{STYLE}</style>\n\
         <text class=\"head\" x=\"12\" y=\"26\">{label}</text>\n{}{}{marks}</svg>\n",
        legend(),
        grid(&axis, y + ROW / 2.0)
    )
}

fn legend() -> String {
    let mut text = String::new();
    let mut x = 18.0;
    for (class, meaning) in KEYS {
        let (after, next) = (x + 10.0, x + 170.0);
        let _ = writeln!(text, r#"<circle class="key {class}" cx="{x:.1}" cy="48" r="{RADIUS}"/>"#);
        let _ = writeln!(text, r#"<text x="{after:.1}" y="52">{meaning}</text>"#);
        x = next;
    }
    let (after, top, bottom) = (x + 10.0, 39, 57);
    let _ = writeln!(text, r#"<path class="median" d="M{x:.1} {top}V{bottom}"/>"#);
    let _ = writeln!(text, r#"<text x="{after:.1}" y="52">median</text>"#);
    text
}

fn grid(axis: &Axis, bottom: f64) -> String {
    let mut text = String::new();
    for ms in axis.decades() {
        let (x, y) = (axis.x(ms), TOP - 12.0);
        let _ = writeln!(text, r#"<path class="grid" d="M{x:.1} {TOP:.1}V{bottom:.1}"/>"#);
        let _ = writeln!(text, r#"<text text-anchor="middle" x="{x:.1}" y="{y:.1}">{}</text>"#, decade(ms));
    }
    text
}

fn decade(ms: u64) -> String {
    if ms < 1_000 { format!("{ms} ms") } else { format!("{} s", ms / 1_000) }
}

fn row(summary: &Summary, kind: Kind, axis: &Axis, y: f64) -> String {
    let mut faults: Vec<&Made> = summary.faults.iter().filter(|fault| fault.kind == kind).collect();
    faults.sort_by_key(|fault| fault.outage_ms);
    let (x, base) = (LEFT - 16.0, y + 4.5);
    let mut text = format!("<text text-anchor=\"end\" x=\"{x:.1}\" y=\"{base:.1}\">{}</text>\n", escaped(title(kind)));
    for (fault, height) in faults.into_iter().zip(HEIGHTS.into_iter().cycle()) {
        text += &dot(fault, axis, y + height);
    }
    text
}

fn dot(fault: &Made, axis: &Axis, y: f64) -> String {
    let pair = if fault.paired { " pair" } else { "" };
    let colour = match fault.outage_ms {
        None => " unknown",
        Some(_) if fault.rows_lost > 0 => " lost",
        Some(_) => "",
    };
    let (x, told) = (axis.x(fault.outage_ms.unwrap_or_default()), escaped(&told(fault)));
    format!(
        "<circle class=\"dot{pair}{colour}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\"><title>{told}</title></circle>\n"
    )
}

/// What is shown when the pointer rests on the dot.
fn told(fault: &Made) -> String {
    let outage = fault.outage_ms.map_or("outage not measured".to_owned(), |ms| format!("{} s", seconds(ms)));
    let (seed, round, did, lost) = (fault.seed, fault.round, fault.did.words(), fault.rows_lost);
    format!("seed {seed}, round {round}: {outage}, {did}, rows lost: {lost}")
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            '\'' => safe += "&#39;",
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use roxmltree::{Document, Node};

    use super::super::tests::small;
    use super::*;

    fn dots<'a, 'i>(document: &'a Document<'i>) -> Vec<Node<'a, 'i>> {
        let is_dot = |node: &Node<'_, '_>| node.attribute("class").is_some_and(|class| class.starts_with("dot"));
        document.descendants().filter(is_dot).collect()
    }

    #[test]
    fn the_picture_is_xml_and_has_a_dot_for_every_fault() {
        let summary = small("an <agent> & \"more\"");
        let text = picture(&summary);
        let document = Document::parse(&text).unwrap();
        assert_eq!(dots(&document).len(), summary.faults.len());
        let label = document.root_element().attribute("aria-label").unwrap();
        assert_eq!(label, "write outage by kind of fault, an <agent> & \"more\" on 3 nodes");
    }

    #[test]
    fn dots_tell_pairs_losses_and_what_was_not_measured() {
        let mut summary = small("pgbaton");
        summary.faults[0].outage_ms = None;
        let text = picture(&summary);
        let document = Document::parse(&text).unwrap();
        let mut classes: Vec<_> = dots(&document).iter().map(|dot| dot.attribute("class").unwrap()).collect();
        classes.sort_unstable();
        assert_eq!(classes, ["dot", "dot pair lost", "dot pair lost", "dot unknown"]);
    }

    #[test]
    fn the_axis_is_logarithmic_and_long_enough() {
        let mut summary = small("pgbaton");
        let axis = Axis::of(&summary);
        let (ten, hundred, thousand) = (axis.x(10), axis.x(100), axis.x(1_000));
        assert!((hundred - ten - (thousand - hundred)).abs() < 1e-9);
        assert!((axis.x(0) - LEFT).abs() < 1e-9, "below the axis is at its beginning");
        summary.faults[0].outage_ms = Some(100_001);
        assert_eq!(Axis::of(&summary).most_ms, 1_000_000);
    }

    #[test]
    fn an_empty_summary_has_a_picture() {
        let mut summary = small("pgbaton");
        (summary.faults, summary.not_made) = (Vec::new(), [].into());
        assert!(Document::parse(&picture(&summary)).is_ok());
    }
}
