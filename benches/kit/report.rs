//! What the benchmark prints: tables for the README, and which of the claims hold.

use crate::harness;

/// A table that is filled row by row.
#[derive(PartialEq, Eq)]
pub struct Heading {
    pub title: &'static str,
    pub columns: &'static [&'static str],
}

/// One thing that is asked for, as it was measured.
struct Claim {
    row: String,
    measured: String,
    asked: String,
    holds: bool,
}

/// All that has been measured so far.
#[derive(Default)]
pub struct Report {
    tables: Vec<(&'static Heading, Vec<Vec<String>>)>,
    claims: Vec<Claim>,
}

impl Report {
    pub fn row(&mut self, heading: &'static Heading, cells: Vec<String>) {
        assert_eq!(cells.len(), heading.columns.len(), "a cell for each column of {}", heading.title);
        // Shown at once too, for whoever waits, and in case a later check fails.
        eprintln!(
            "  {}",
            heading
                .columns
                .iter()
                .zip(&cells)
                .map(|(name, cell)| format!("{name}: {cell}"))
                .collect::<Vec<_>>()
                .join(" · ")
        );
        match self.tables.iter_mut().find(|(known, _)| *known == heading) {
            Some((_, rows)) => rows.push(cells),
            None => self.tables.push((heading, vec![cells])),
        }
    }

    /// Notes whether a claim holds.
    pub fn claim(
        &mut self,
        row: impl Into<String>,
        measured: impl Into<String>,
        asked: impl Into<String>,
        holds: bool,
    ) {
        self.claims.push(Claim { row: row.into(), measured: measured.into(), asked: asked.into(), holds });
    }

    pub fn print(&self) {
        for (heading, rows) in &self.tables {
            println!("\n{}\n", heading.title);
            print_table(heading.columns, rows);
        }
        if self.claims.is_empty() {
            return;
        }
        println!("\nWhat is asked for:\n");
        let rows = self.claims.iter().map(|claim| {
            let holds = if claim.holds { "yes" } else { "NO" };
            vec![claim.row.clone(), claim.measured.clone(), claim.asked.clone(), holds.to_owned()]
        });
        print_table(&["row", "measured", "asked", "holds"], &rows.collect::<Vec<_>>());
    }

    /// Panics, naming them, if claims do not hold.
    pub fn assert_claims(&self) {
        let failed = self.claims.iter().filter(|claim| !claim.holds);
        let lines = failed.map(|claim| format!("{}: {} instead of {}", claim.row, claim.measured, claim.asked));
        let lines = lines.collect::<Vec<_>>();
        assert!(lines.is_empty(), "claims that do not hold:\n{}", lines.join("\n"));
    }
}

fn print_table(columns: &[&str], rows: &[Vec<String>]) {
    println!("| {} |", columns.join(" | "));
    println!("|---|{}", "---:|".repeat(columns.len() - 1));
    for row in rows {
        println!("| {} |", row.join(" | "));
    }
}

/// The middle of several measurements, with the least and the most.
#[derive(Debug, Clone, Copy)]
pub struct Spread {
    pub middle: f64,
    pub least: f64,
    pub most: f64,
    /// The one that nineteen of twenty do not exceed: what a limit is held against, since the machine is not idle.
    pub p95: f64,
}

impl Spread {
    pub fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values = values.into_iter().collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        let at = |share| harness::quantile(&values, share);
        Spread { middle: at(0.5), least: at(0.0), most: at(1.0), p95: at(0.95) }
    }

    /// The middle, and the least and the most in brackets.
    pub fn show(&self, decimals: usize) -> String {
        format!("{:.decimals$} ({:.decimals$}–{:.decimals$})", self.middle, self.least, self.most)
    }
}

/// A count with its thousands apart.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
