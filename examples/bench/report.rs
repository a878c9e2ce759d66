//! What is printed and what is written: medians with their least and most, and ratios within one round.
//!
//! Must not know: how anything was measured.

use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

use serde_json::{Value, json};

use super::cases::Case;
use super::measure::Measured;
use super::subjects::{ALL, Name};

/// Everything about one case.
pub struct Row {
    pub case: &'static Case,
    pub rounds: Vec<Vec<(Name, Measured)>>,
    /// System calls for each request.
    pub calls: Vec<(Name, Vec<(String, f64)>)>,
    pub failed: Vec<String>,
}

/// A median, and what it is the median of.
#[derive(Clone, Copy)]
pub struct Middle {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

impl Middle {
    fn of(values: impl Iterator<Item = f64>) -> Option<Middle> {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[half] } else { f64::midpoint(values[half - 1], values[half]) };
        Some(Middle { median, least, most })
    }
}

impl Row {
    pub fn new(case: &'static Case) -> Row {
        Row { case, rounds: vec![], calls: vec![], failed: vec![] }
    }

    fn of(&self, name: Name) -> impl Iterator<Item = &Measured> {
        self.rounds.iter().flatten().filter(move |(who, _)| *who == name).map(|(_, measured)| measured)
    }

    fn middle(&self, name: Name, figure: impl Fn(&Measured) -> f64) -> Option<Middle> {
        Middle::of(self.of(name).map(figure))
    }

    /// Of the processor time of a request, each round by itself.
    pub fn ratio(&self, name: Name, to: Name) -> Option<Middle> {
        Middle::of(self.rounds.iter().filter_map(|round| {
            let cost = |of: Name| Some(round.iter().find(|(who, _)| *who == of)?.1.cpu_s_per_100k());
            Some(cost(name)? / cost(to)?)
        }))
    }

    fn calls_of(&self, name: Name) -> Option<&[(String, f64)]> {
        Some(&self.calls.iter().find(|(who, _)| *who == name)?.1)
    }

    fn stolen(&self) -> Option<Middle> {
        Middle::of(self.rounds.iter().flatten().map(|(_, measured)| measured.stolen))
    }
}

pub fn head(versions: &[String], seconds: u64, rounds: usize, load: &[usize], subjects: &[usize]) -> String {
    let names = ALL.iter().zip(versions).map(|(name, version)| format!("{} {version}", name.word()));
    let shared = if load == subjects { "shared by load, origin and subject" } else { "each for itself" };
    format!(
        "{}\n{}; {} processors, {shared}; {rounds} rounds of {seconds} s\n",
        names.collect::<Vec<_>>().join(", "),
        super::machine::described(),
        subjects.len(),
    )
}

/// While it runs: one line for a row.
impl Display for Row {
    fn fmt(&self, to: &mut Formatter) -> std::fmt::Result {
        write!(to, "{:<12}", self.case.name)?;
        for name in ALL {
            let cost = self.middle(name, Measured::cpu_s_per_100k).map_or(f64::NAN, |middle| middle.median);
            write!(to, " {} {cost:.2}", name.word())?;
        }
        for failed in &self.failed {
            write!(to, "\n    could not run: {failed}")?;
        }
        Ok(())
    }
}

/// In Markdown, as they stand in docs/performance.md.
pub fn tables(rows: &[Row]) -> String {
    let mut text = String::from(
        "\nCPU seconds for 100,000 requests; for a new connection the same figure / 100 is CPU ms each\n\n\
         | case | nginx | haproxy | hitless | hitless : nginx | hitless : haproxy | steal % |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let cell = |middle: Option<Middle>, digits: usize| {
        middle.map_or("–".to_owned(), |middle| format!("{:.digits$}", middle.median))
    };
    let spread = |middle: Option<Middle>| {
        middle.map_or("–".to_owned(), |middle| {
            format!("**{:.2}** ({:.2}..{:.2})", middle.median, middle.least, middle.most)
        })
    };
    for row in rows {
        text += &format!("| {} (`{}`)", row.case.about, row.case.name);
        for name in ALL {
            text += &format!(" | {}", cell(row.middle(name, Measured::cpu_s_per_100k), 2));
        }
        text += &format!(
            " | {} | {} | {} |\n",
            spread(row.ratio(Name::Hitless, Name::Nginx)),
            spread(row.ratio(Name::Hitless, Name::Haproxy)),
            row.stolen()
                .map_or("–".to_owned(), |middle| format!("{:.0}..{:.0}", middle.least, middle.most)),
        );
    }
    text += "\n| case | subject | requests/s | p50 ms | p99 ms | p99.9 ms | user % | system calls each |\n\
             |---|---|---|---|---|---|---|---|\n";
    for row in rows {
        for name in ALL {
            let millis = |figure: fn(&Measured) -> u32| {
                cell(row.middle(name, |measured| f64::from(figure(measured)) / 1000.0), 2)
            };
            let calls = row.calls_of(name).map(|calls| calls.iter().map(|(_, count)| count).sum::<f64>());
            text += &format!(
                "| `{}` | {} | {} | {} | {} | {} | {} | {} |\n",
                row.case.name,
                name.word(),
                cell(row.middle(name, Measured::rps), 0),
                millis(|measured| measured.p50),
                millis(|measured| measured.p99),
                millis(|measured| measured.p999),
                cell(row.middle(name, |measured| 100.0 * measured.user), 0),
                calls.map_or("–".to_owned(), |calls| format!("{calls:.2}")),
            );
        }
    }
    text += "\nSystem calls for each request, by name:\n\n";
    for row in rows {
        for (name, calls) in &row.calls {
            let most = calls.iter().filter(|(_, count)| *count >= 0.01);
            let words: Vec<String> = most.map(|(call, count)| format!("{call} {count:.2}")).collect();
            text += &format!("{:<12} {:<8} {}\n", row.case.name, name.word(), words.join(", "));
        }
    }
    text
}

/// A list of one object for each case and subject.
pub fn json(rows: &[Row], versions: &[String]) -> Value {
    let all = rows
        .iter()
        .flat_map(|row| ALL.iter().zip(versions).map(move |(name, version)| (row, *name, version)));
    all.map(|(row, name, version)| {
        let mut object = json!({
            "case": row.case.name,
            "subject": name.word(),
            "version": version,
            "rounds": row.of(name).count(),
            "failed": row.failed,
            "system_calls": row.calls_of(name).map(|calls| calls.iter().cloned().collect::<BTreeMap<_, _>>()),
        });
        let mut put = |key: &str, middle: Option<Middle>| {
            let Some(middle) = middle else { return };
            object[key] = json!(middle.median);
            object[format!("{key}_min")] = json!(middle.least);
            object[format!("{key}_max")] = json!(middle.most);
        };
        put("cpu_s_per_100k", row.middle(name, Measured::cpu_s_per_100k));
        put("rps", row.middle(name, Measured::rps));
        put("p50_ms", row.middle(name, |measured| f64::from(measured.p50) / 1000.0));
        put("p99_ms", row.middle(name, |measured| f64::from(measured.p99) / 1000.0));
        put("p999_ms", row.middle(name, |measured| f64::from(measured.p999) / 1000.0));
        put("steal_percent", row.middle(name, |measured| measured.stolen));
        put("idle_percent", row.middle(name, |measured| measured.idle));
        put("ratio_to_nginx", row.ratio(name, Name::Nginx));
        put("ratio_to_haproxy", row.ratio(name, Name::Haproxy));
        object
    })
    .collect()
}
