//! The table: what was measured, beside what is wanted of it.

use std::fmt::Write as _;

use serde_json::{Value, json};

/// What is wanted of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Target {
    fn is_met(self, value: f64) -> bool {
        match self {
            Target::AtMost(most) => value <= most,
            Target::AtLeast(least) => value >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Target::AtMost(most) => format!("<= {}", number(most)),
            Target::AtLeast(least) => format!(">= {}", number(least)),
        }
    }
}

struct Row {
    section: &'static str,
    name: String,
    value: f64,
    unit: String,
    target: Option<Target>,
}

/// All rows of a run, and the lines that say what was skipped.
#[derive(Default)]
pub(super) struct Report {
    section: &'static str,
    rows: Vec<Row>,
    skipped: Vec<String>,
}

impl Report {
    /// What the next rows are about.
    pub(super) fn section(&mut self, name: &'static str) {
        self.section = name;
        println!("\n{name}");
    }

    /// A number, printed as it comes.
    pub(super) fn row(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.add(name.into(), value, unit, None);
    }

    /// A number that something is wanted of.
    pub(super) fn aim(&mut self, name: impl Into<String>, value: f64, unit: &'static str, target: Target) {
        self.add(name.into(), value, unit, Some(target));
    }

    fn add(&mut self, name: String, value: f64, unit: &str, target: Option<Target>) {
        let row = Row { section: self.section, name, value, unit: unit.to_owned(), target };
        let wanted = target.map(|target| format!("{:>12}  {}", target.text(), row.verdict())).unwrap_or_default();
        println!("  {:<58} {:>10} {:<12}{wanted}", row.name, number(value), row.unit);
        self.rows.push(row);
    }

    /// The rows of another run's JSON, which has printed them.
    pub(super) fn take_over(&mut self, other: &Value) {
        for row in other["rows"].as_array().into_iter().flatten() {
            let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
            let (name, value, unit) = (text("name"), row["value"].as_f64().unwrap_or_default(), text("unit"));
            let target = row["most"].as_f64().map(Target::AtMost);
            let target = target.or_else(|| row["least"].as_f64().map(Target::AtLeast));
            self.rows.push(Row { section: self.section, name, value, unit, target });
        }
    }

    /// What could not be measured, and why.
    pub(super) fn skip(&mut self, what: &str, why: &str) {
        println!("  skipped: {what}: {why}");
        self.skipped.push(format!("{what}: {why}"));
    }

    /// The rows for programs.
    pub(super) fn json(&self, facts: &[(&str, String)]) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let facts: serde_json::Map<String, Value> =
            facts.iter().map(|(name, value)| ((*name).to_owned(), Value::from(value.clone()))).collect();
        json!({ "run": facts, "rows": rows, "skipped": self.skipped })
    }

    /// The page for people: the facts of the run, the rows, and `notes`, which someone wrote.
    pub(super) fn page(&self, facts: &[(&str, String)], notes: &str) -> String {
        let mut page = String::from(
            "# Performance\n\nWritten by `cargo run --release -p testbed -- bench`; do not edit. The text below the table is \
             `targets/performance-notes.md`.\n\n",
        );
        for (name, value) in facts {
            let _ = writeln!(page, "- {name}: {value}");
        }
        let mut section = "";
        for row in &self.rows {
            if row.section != section {
                section = row.section;
                let _ = write!(page, "\n## {section}\n\n| what | measured | wanted | |\n|---|---:|---:|---|\n");
            }
            let (wanted, verdict) =
                row.target.map(|target| (target.text(), row.verdict())).unwrap_or((String::new(), ""));
            let _ = writeln!(page, "| {} | {} {} | {wanted} | {verdict} |", row.name, number(row.value), row.unit);
        }
        if !self.skipped.is_empty() {
            page += "\n## Skipped\n\n";
            for line in &self.skipped {
                let _ = writeln!(page, "- {line}");
            }
        }
        format!("{page}\n{notes}")
    }

    /// Targets that were missed.
    pub(super) fn missed(&self) -> usize {
        self.rows.iter().filter(|row| row.verdict() == "missed").count()
    }
}

impl Row {
    fn verdict(&self) -> &'static str {
        match self.target {
            Some(target) if target.is_met(self.value) => "met",
            Some(_) => "missed",
            None => "",
        }
    }

    fn json(&self) -> Value {
        let (most, least) = match self.target {
            Some(Target::AtMost(most)) => (Some(most), None),
            Some(Target::AtLeast(least)) => (None, Some(least)),
            None => (None, None),
        };
        json!({
            "section": self.section, "name": self.name, "value": self.value, "unit": self.unit,
            "most": most, "least": least, "met": self.target.map(|target| target.is_met(self.value)),
        })
    }
}

/// Three significant digits, or all of a large number's.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_target_is_seen_in_every_form() {
        let mut report = Report::default();
        report.section("Memory");
        report.aim("idle", 2.5, "MiB", Target::AtMost(2.0));
        report.aim("ratio", 0.9, "", Target::AtLeast(0.8));
        report.row("wall", 1234.5, "ms");
        report.skip("links", "no netem");
        assert_eq!(report.missed(), 1);
        let json = report.json(&[("commit", "abc".to_owned())]);
        assert_eq!(json["rows"][0]["met"], false);
        assert_eq!(json["rows"][2]["met"], Value::Null);
        let mut other = Report::default();
        other.take_over(&json);
        assert_eq!((other.missed(), other.json(&[])["rows"][1]["least"].as_f64()), (1, Some(0.8)));
        let page = report.page(&[("commit", "abc".to_owned())], "Why.\n");
        for line in ["- commit: abc", "| idle | 2.50 MiB | <= 2.00 | missed |", "| ratio | 0.900  | >= 0.800 | met |"] {
            assert!(page.contains(line), "{page}");
        }
        assert!(page.contains("- links: no netem\n") && page.ends_with("\nWhy.\n"), "{page}");
    }
}
