//! The tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::did::Did;
use super::spread::{Spread, seconds};
use super::title::title;
use super::{Line, Summary};
use crate::campaign::fault::Kind;
use crate::campaign::record::Verdict;

const HEAD: &str = "| fault | struck | outage, s: median | 95th percentile | worst | rows lost | manual steps | \
                    what the cluster did |\n|---|---|---|---|---|---|---|---|\n";
const NOTE: &str = "A fault of a pair counts under both kinds, with the outage and the losses of their round; \
                    the last line counts every round once.\n";
const COMPARE_NOTE: &str = "Write outage in seconds, median / worst, and in parentheses how often the fault was made; \
                            a fault of a pair counts under both kinds.\n";
/// Nothing measured.
const NONE: &str = "–";

/// One agent's table, and what was found.
pub(super) fn table(summary: &Summary) -> String {
    let mut text = format!("{}\n\n{HEAD}", heading(summary));
    for (kind, line) in summary.lines() {
        text += &row(title(kind), &line);
    }
    text += &row("all rounds", &summary.all_rounds());
    let _ = write!(text, "\n{NOTE}\n{}", findings(summary));
    text
}

fn heading(summary: &Summary) -> String {
    let commits = if summary.synchronous { "synchronous" } else { "asynchronous" };
    let profile = |seed: &u64| summary.profiles.get(seed).filter(|profile| *profile != "plain");
    let seed = |seed: &u64| profile(seed).map_or(seed.to_string(), |profile| format!("{seed} ({profile})"));
    let seeds: Vec<String> = summary.seeds.iter().map(seed).collect();
    let (agent, nodes, rounds, faults) = (&summary.agent, summary.nodes, summary.rounds, summary.faults.len());
    format!(
        "**{}**: {faults} faults in {rounds} rounds on {nodes} nodes, {commits} commits, seeds: {}",
        escaped(agent),
        seeds.join(", ")
    )
}

fn row(title: &str, line: &Line) -> String {
    let figure = |read: fn(Spread) -> u64| line.outage_ms.map_or(NONE.to_owned(), |spread| seconds(read(spread)));
    let cells = [
        title.to_owned(),
        struck(line),
        figure(|spread| spread.median),
        figure(|spread| spread.percentile_95),
        figure(|spread| spread.worst),
        line.rows_lost.to_string(),
        line.manual_steps.to_string(),
        did(line),
    ];
    format!("| {} |\n", cells.join(" | "))
}

fn struck(line: &Line) -> String {
    let mut text = line.struck.to_string();
    if line.in_pairs > 0 {
        let _ = write!(text, " ({} in pairs)", line.in_pairs);
    }
    if line.not_made > 0 {
        let _ = write!(text, ", {} not possible", line.not_made);
    }
    text
}

/// The most frequent first.
fn did(line: &Line) -> String {
    let mut counts: Vec<(&Did, &usize)> = line.did.iter().collect();
    counts.sort_by_key(|(_, count)| usize::MAX - **count);
    let of = |place: usize| if place == 0 { format!(" of {}", line.rounds()) } else { String::new() };
    let words = counts.iter().enumerate();
    let words: Vec<String> =
        words.map(|(place, (did, count))| format!("{} in {count}{}", did.words(), of(place))).collect();
    if words.is_empty() { NONE.to_owned() } else { words.join(", ") }
}

fn findings(summary: &Summary) -> String {
    if summary.findings.is_empty() {
        return "No findings.\n".to_owned();
    }
    let mut text = format!("Findings: {}\n\n", summary.findings.len());
    for found in &summary.findings {
        let finding = &found.finding;
        let (verdict, what) = (word(finding.verdict), escaped(&finding.text));
        let _ = writeln!(text, "- seed {}, round {}, {verdict}: {what}", found.seed, finding.round);
    }
    text
}

/// Several agents, a column each.
pub(super) fn compare(summaries: &[Summary]) -> String {
    let head = |summary: &Summary| format!("{}, {} nodes", escaped(&summary.agent), summary.nodes);
    let agents: Vec<String> = summaries.iter().map(head).collect();
    let lines: Vec<BTreeMap<Kind, Line>> = summaries.iter().map(Summary::lines).collect();
    let kinds: BTreeSet<Kind> = lines.iter().flat_map(BTreeMap::keys).copied().collect();
    let mut text = format!("| fault | {} |\n|---|{}\n", agents.join(" | "), "---|".repeat(agents.len()));
    for kind in kinds {
        let cells: Vec<String> = lines.iter().map(|lines| lines.get(&kind).map_or(NONE.to_owned(), cell)).collect();
        let _ = writeln!(text, "| {} | {} |", title(kind), cells.join(" | "));
    }
    for (title, read) in TOTALS {
        let cells: Vec<String> = summaries.iter().map(read).collect();
        let _ = writeln!(text, "| **{title}** | {} |", cells.join(" | "));
    }
    format!("{text}\n{COMPARE_NOTE}")
}

/// A total line: what it shows, and where that is found.
type Total = (&'static str, fn(&Summary) -> String);

const TOTALS: [Total; 6] = [
    ("faults, rounds", |summary| format!("{}, {}", summary.faults.len(), summary.rounds)),
    ("outage of a round: median / 95th percentile / worst", |summary| {
        let three = |spread: Spread| [spread.median, spread.percentile_95, spread.worst].map(seconds).join(" / ");
        summary.all_rounds().outage_ms.map_or(NONE.to_owned(), three)
    }),
    ("rows lost", |summary| summary.all_rounds().rows_lost.to_string()),
    ("manual steps", |summary| summary.all_rounds().manual_steps.to_string()),
    ("rounds with findings", |summary| {
        let rounds = summary.findings.iter().map(|found| (found.seed, found.finding.round));
        rounds.collect::<BTreeSet<_>>().len().to_string()
    }),
    ("findings", verdicts),
];

fn cell(line: &Line) -> String {
    let mut text = match line.outage_ms {
        Some(spread) => format!("{} / {} ({})", seconds(spread.median), seconds(spread.worst), line.struck),
        None => format!("{NONE} ({})", line.struck),
    };
    if line.rows_lost > 0 {
        let _ = write!(text, "; rows lost: {}", line.rows_lost);
    }
    if line.manual_steps > 0 {
        let _ = write!(text, "; manual steps: {}", line.manual_steps);
    }
    text
}

fn verdicts(summary: &Summary) -> String {
    let mut counts: BTreeMap<Verdict, usize> = BTreeMap::new();
    summary.findings.iter().for_each(|found| *counts.entry(found.finding.verdict).or_default() += 1);
    let words: Vec<String> = counts.iter().map(|(verdict, count)| format!("{count} {}", word(*verdict))).collect();
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Lost => "lost",
        Verdict::Invented => "invented",
        Verdict::Doubled => "doubled",
        Verdict::OutOfOrder => "out of order",
        Verdict::Split => "split",
        Verdict::Stale => "stale",
        Verdict::Unhealed => "unhealed",
        Verdict::Destroyed => "destroyed",
    }
}

/// Foreign text on one line, without what Markdown would read as markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\r' => safe.push(' '),
            '|' | '<' | '>' | '*' | '_' | '`' | '[' | ']' | '\\' => safe.extend(['\\', letter]),
            other => safe.push(other),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::super::tests::small;
    use super::*;

    const TABLE: &str = r"**pgbaton**: 4 faults in 4 rounds on 3 nodes, asynchronous commits, seeds: 7

| fault | struck | outage, s: median | 95th percentile | worst | rows lost | manual steps | what the cluster did |
|---|---|---|---|---|---|---|---|
| power loss of a node | 2 (1 in pairs) | 1.91 | 1.91 | 1.91 | 1 | 1 | promoted another node in 2 of 2 |
| freeze of a node | 1 (1 in pairs) | 1.91 | 1.91 | 1.91 | 1 | 1 | promoted another node in 1 of 1 |
| SIGKILL of the attribute daemon | 1, 1 not possible | 0.010 | 0.010 | 0.010 | 0 | 0 | no outage in 1 of 1 |
| all rounds | 4 (2 in pairs), 1 not possible | 1.91 | 1.91 | 1.91 | 1 | 1 | promoted another node in 2 of 3, no outage in 1 |

A fault of a pair counts under both kinds, with the outage and the losses of their round; the last line counts every round once.

Findings: 2

- seed 7, round 3, destroyed: acknowledged rows neither on db2 nor kept aside: 1 (client 1: 10)
- seed 7, round 4, unhealed: no full strength in time: db3 is \<gone\>
";

    const COMPARISON: &str = r"| fault | pgbaton, 3 nodes | pg\|sql, 3 nodes |
|---|---|---|
| power loss of a node | 1.91 / 1.91 (2); rows lost: 1; manual steps: 1 | – |
| freeze of a node | 1.91 / 1.91 (1); rows lost: 1; manual steps: 1 | – |
| SIGKILL of the attribute daemon | 0.010 / 0.010 (1) | – (0) |
| **faults, rounds** | 4, 4 | 0, 4 |
| **outage of a round: median / 95th percentile / worst** | 1.91 / 1.91 / 1.91 | – |
| **rows lost** | 1 | 0 |
| **manual steps** | 1 | 0 |
| **rounds with findings** | 2 | 0 |
| **findings** | 1 unhealed, 1 destroyed | none |

Write outage in seconds, median / worst, and in parentheses how often the fault was made; a fault of a pair counts under both kinds.
";

    #[test]
    fn the_table_of_an_agent() {
        assert_eq!(table(&small("pgbaton")), TABLE);
    }

    #[test]
    fn agents_stand_side_by_side() {
        let other = Summary { faults: Vec::new(), findings: Vec::new(), ..small("pg|sql") };
        assert_eq!(compare(&[small("pgbaton"), other]), COMPARISON);
    }

    #[test]
    fn foreign_text_is_no_markup() {
        assert_eq!(escaped("a|b\n<i>"), r"a\|b \<i\>");
    }
}
