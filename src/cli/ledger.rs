//! `hitless ledger`: what became of every request, connection and tunnel, and whether anything is unaccounted for.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::client::{self, Where};
use super::{Fatal, code, print};
use crate::telemetry::ledger::{ALL, Account, Fate, Ledger, Page, Passage};

#[derive(Debug, clap::Args)]
pub struct Options {
    /// As JSON, for programs
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Where,
}

/// The gateway itself gives up before.
const LIMIT: Duration = Duration::from_secs(15);

pub fn ledger(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let answer = client::ask(&options.place, directory, "GET /ledger", "show the ledger", LIMIT)?;
    let text = String::from_utf8_lossy(&answer.body);
    let ledger = match serde_json::from_slice::<Ledger>(&answer.body) {
        Ok(ledger) if answer.status == 200 => ledger,
        _ => {
            let why = format_args!("cannot show the ledger: {}", text.trim());
            return Err(Fatal::new(code::UNAVAILABLE, why));
        }
    };
    print(&if options.json { text.into_owned() } else { describe(&ledger) })?;
    let residue = ledger.residue();
    match residue.is_zero() {
        true => Ok(()),
        // The text has said it.
        false if !options.json => Err(Fatal::new(code::REFUSED, "")),
        false => Err(Fatal::new(code::REFUSED, residue)),
    }
}

fn describe(ledger: &Ledger) -> String {
    let mut text = String::new();
    for page in &ledger.gateways {
        text.push_str(&head(page));
        if page.fate != Fate::Lost || !page.services.is_empty() {
            text.push_str(&requests(page));
            text.push_str(&passages(page));
        }
        text.push('\n');
    }
    if let Some((connections, tunnels)) = ledger.in_transit().filter(|both| *both != (0, 0)) {
        // INVARIANT: writing to a String does not fail.
        let _ = writeln!(
            text,
            "given away and not adopted by another gateway: {connections} connections, {tunnels} tunnels"
        );
    }
    let _ = writeln!(text, "{}", ledger.residue());
    text
}

fn head(page: &Page) -> String {
    let Page { gateway, folded, version, pid, began, .. } = page;
    let name = match folded {
        0 => format!("gateway {gateway}"),
        _ => format!("gateways {} to {gateway}", gateway - folded),
    };
    let story = match (page.fate, page.ended.as_deref()) {
        (Fate::Lost, _) if page.services.is_empty() => {
            "ended without a report: what was in flight is lost".to_owned()
        }
        (Fate::Lost, _) if *folded == 0 => {
            format!("hitless {version}, from {began}; what became of what it had in flight is not known")
        }
        (Fate::Lost, _) => "some of which ended without a report".to_owned(),
        (Fate::Alive, _) => format!("hitless {version}, process {pid}, since {began}"),
        (Fate::Ended, ended) => format!("hitless {version}, from {began} to {}", ended.unwrap_or("-")),
    };
    format!("{name}: {story}\n")
}

fn requests(page: &Page) -> String {
    let words =
        ["requests", "admitted", "answered", "client gone", "shed", "cut", "in flight", "unaccounted for"];
    let mut rows = vec![words.map(str::to_owned)];
    let mut why = String::new();
    for (name, account) in &page.services {
        rows.push(row(name, account));
        for (word, failed) in [("shed", &account.shed), ("cut", &account.cut)] {
            if !failed.is_empty() {
                let codes: Vec<String> =
                    failed.iter().map(|(code, count)| format!("{code} {count}")).collect();
                let _ = writeln!(why, "  {word}, {name}: {}", codes.join(", "));
            }
        }
    }
    if page.services.len() > 1 {
        rows.push(row("all", &page.all()));
    }
    table(&rows) + &why
}

fn row(name: &str, account: &Account) -> [String; 8] {
    let sum = |failed: &std::collections::BTreeMap<String, u64>| failed.values().sum::<u64>().to_string();
    [
        if name == ALL { "all".to_owned() } else { name.to_owned() },
        account.admitted.to_string(),
        account.answered.to_string(),
        account.client_gone.to_string(),
        sum(&account.shed),
        sum(&account.cut),
        account.in_flight.to_string(),
        account.residue().to_string(),
    ]
}

/// Connections, and the tunnels of those services that had any.
fn passages(page: &Page) -> String {
    let words = ["", "begun", "adopted", "open", "closed", "moved", "unaccounted for"];
    let mut rows = vec![words.map(str::to_owned), passage("connections", &page.connections)];
    let tunnels = page.services.iter().filter(|(_, account)| account.tunnels != Passage::default());
    rows.extend(tunnels.map(|(name, account)| passage(&format!("tunnels, {name}"), &account.tunnels)));
    table(&rows)
}

fn passage(name: &str, passage: &Passage) -> [String; 7] {
    [
        name.to_owned(),
        passage.begun.to_string(),
        passage.adopted.to_string(),
        (passage.open + passage.arriving).to_string(),
        passage.closed.to_string(),
        passage.moved.to_string(),
        passage.residue().to_string(),
    ]
}

/// Names to the left, numbers to the right.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for row in rows {
        let _ = write!(text, "  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_a_table_with_reasons_and_a_verdict() {
        let answered = |admitted, answered| Account { admitted, answered, ..Account::default() };
        let mut refused = Account { admitted: 3, ..Account::default() };
        refused.shed = BTreeMap::from([("misdirected".into(), 2), ("no-route".into(), 1)]);
        let mut shop = answered(120, 119);
        shop.cut = BTreeMap::from([("drained".into(), 1)]);
        shop.tunnels = Passage { begun: 2, adopted: 1, open: 2, moved: 1, ..Passage::default() };
        let page = Page {
            gateway: 3,
            version: "0.1.0".into(),
            pid: 12,
            began: "2026-11-21T12:00:00Z".into(),
            connections: Passage { begun: 40, open: 3, arriving: 1, closed: 36, ..Passage::default() },
            services: BTreeMap::from([("-".into(), refused), ("shop".into(), shop)]),
            ..Page::default()
        };
        let lost = Page { gateway: 2, folded: 1, fate: Fate::Lost, ..Page::default() };
        let mut ledger = Ledger { gateways: vec![lost, page] };
        assert_eq!(
            describe(&ledger),
            "\
gateways 1 to 2: ended without a report: what was in flight is lost

gateway 3: hitless 0.1.0, process 12, since 2026-11-21T12:00:00Z
  requests  admitted  answered  client gone  shed  cut  in flight  unaccounted for
  -                3         0            0     3    0          0                0
  shop           120       119            0     0    1          0                0
  all            123       119            0     3    1          0                0
  shed, -: misdirected 2, no-route 1
  cut, shop: drained 1
                 begun  adopted  open  closed  moved  unaccounted for
  connections       40        0     4      36      0                0
  tunnels, shop      2        1     2       0      1                0

every request is accounted for
"
        );
        ledger.gateways[1].services.get_mut("shop").unwrap().admitted += 2;
        assert!(describe(&ledger).ends_with("\n2 requests unaccounted for: a bug, please report it\n"));
    }

    #[test]
    fn what_is_between_two_gateways_is_told() {
        let mut outgoing = Page { gateway: 1, fate: Fate::Ended, ..Page::default() };
        outgoing.connections = Passage { begun: 3, moved: 3, ..Passage::default() };
        let incoming = Page { gateway: 2, ..Page::default() };
        let text = describe(&Ledger { gateways: vec![outgoing, incoming] });
        assert!(text.contains("not adopted by another gateway: 3 connections, 0 tunnels\n"), "{text}");
    }
}
