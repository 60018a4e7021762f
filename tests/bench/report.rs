//! Figures, as a table for people and as JSON lines for programs.

/// The median of several rounds, and how far apart they were.
#[derive(Clone, Debug)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The smallest.
    pub(crate) min: f64,
    /// The largest.
    pub(crate) max: f64,
    /// All of them, as they came.
    pub(crate) rounds: Vec<f64>,
}

impl Spread {
    /// Of at least one round.
    pub(crate) fn of(rounds: &[f64]) -> Self {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Self { median, min: sorted[0], max: sorted[sorted.len() - 1], rounds: rounds.to_vec() }
    }
}

/// What a figure is compared with: the same thing done by somebody else in the same rounds.
#[derive(Debug)]
pub(crate) struct Reference {
    /// Who.
    pub(crate) name: &'static str,
    /// Their figure.
    pub(crate) value: Spread,
    /// Ours divided by theirs, round by round.
    pub(crate) ratio: Spread,
}

impl Reference {
    /// Compares round by round.
    pub(crate) fn of(name: &'static str, ours: &[f64], theirs: &[f64]) -> Self {
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        Self { name, value: Spread::of(theirs), ratio: Spread::of(&ratios) }
    }
}

/// What a figure should be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    /// The figure itself.
    ValueAtMost(f64),
    /// The figure itself.
    ValueAtLeast(f64),
    /// Its ratio to the reference.
    RatioAtMost(f64),
    /// Its ratio to the reference.
    RatioAtLeast(f64),
}

/// One measured figure.
#[derive(Debug)]
pub(crate) struct Figure {
    /// A name that stays.
    pub(crate) name: String,
    /// What it counts.
    pub(crate) unit: &'static str,
    /// Rowcast's.
    pub(crate) value: Spread,
    /// What it is compared with.
    pub(crate) reference: Option<Reference>,
    /// What it should be.
    pub(crate) goal: Option<Goal>,
    /// How it was measured, in one line.
    pub(crate) method: &'static str,
}

impl Figure {
    fn met(&self) -> Option<bool> {
        let ratio = self.reference.as_ref().map(|reference| reference.ratio.median);
        Some(match self.goal? {
            Goal::ValueAtMost(bound) => self.value.median <= bound,
            Goal::ValueAtLeast(bound) => self.value.median >= bound,
            Goal::RatioAtMost(bound) => ratio? <= bound,
            Goal::RatioAtLeast(bound) => ratio? >= bound,
        })
    }

    fn cells(&self) -> [String; 6] {
        let (theirs, ratio) = match &self.reference {
            Some(Reference { name, value, ratio }) => (
                format!("{} {name}", number(value.median)),
                format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.min, ratio.max),
            ),
            None => Default::default(),
        };
        let goal = match self.goal {
            Some(Goal::ValueAtMost(bound)) => format!("≤ {}", number(bound)),
            Some(Goal::ValueAtLeast(bound)) => format!("≥ {}", number(bound)),
            Some(Goal::RatioAtMost(bound)) => format!("ratio ≤ {bound}"),
            Some(Goal::RatioAtLeast(bound)) => format!("ratio ≥ {bound}"),
            None => String::new(),
        };
        let met = match self.met() {
            Some(true) => " met",
            Some(false) => " MISSED",
            None => "",
        };
        [
            self.name.clone(),
            format!("{} {}", number(self.value.median), self.unit),
            format!("{}–{}", number(self.value.min), number(self.value.max)),
            theirs,
            ratio,
            goal + met,
        ]
    }

    fn json(&self) -> serde_json::Value {
        let spread = |of: &Spread| serde_json::json!({ "median": of.median, "min": of.min, "max": of.max, "rounds": of.rounds });
        let reference = self.reference.as_ref().map(|reference| {
            serde_json::json!({
                "name": reference.name,
                "value": spread(&reference.value),
                "ratio": spread(&reference.ratio),
            })
        });
        let goal = self.goal.map(|goal| match goal {
            Goal::ValueAtMost(bound) => serde_json::json!({ "value_at_most": bound }),
            Goal::ValueAtLeast(bound) => serde_json::json!({ "value_at_least": bound }),
            Goal::RatioAtMost(bound) => serde_json::json!({ "ratio_at_most": bound }),
            Goal::RatioAtLeast(bound) => serde_json::json!({ "ratio_at_least": bound }),
        });
        serde_json::json!({
            "name": self.name,
            "unit": self.unit,
            "value": spread(&self.value),
            "reference": reference,
            "goal": goal,
            "met": self.met(),
            "method": self.method,
        })
    }
}

/// Three digits that matter, without an exponent.
fn number(value: f64) -> String {
    match value.abs() {
        0.0..1.0 => format!("{value:.3}"),
        1.0..10.0 => format!("{value:.2}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// Prints the table, then a JSON line for each figure.
pub(crate) fn print(figures: &[Figure]) {
    let header = ["measure", "Rowcast", "range", "reference", "ratio", "goal"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(header).chain(figures.iter().map(Figure::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    println!();
    for figure in figures {
        println!("{}", figure.json());
    }
}
