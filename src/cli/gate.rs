//! `hitless hold`, `release` and `drain`: the gate of a service, by hand or by its unit's stop.
//!
//! Promises: a drain ends within its limit, and with 0 when hitless does not run or knows nothing of the unit: stopping an
//! application never hangs on us.
//! Must not know: how a gate is closed.

use std::path::Path;
use std::time::Duration;

use super::client::{self, Error, Where};
use super::{Fatal, code, print};
use crate::admin::{Gate, Gated, Status, Wish};

/// For everything but a drain; the gateway itself gives up before.
const LIMIT: Duration = Duration::from_secs(15);
/// What the answer to a drain may take beyond its own limit.
const SLACK: Duration = Duration::from_secs(5);
/// The gateway keeps nobody waiting for longer.
const LONGEST: Duration = Duration::from_secs(110);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    #[command(flatten)]
    pub place: Where,
}

#[derive(Debug, clap::Args)]
pub struct Drain {
    /// The service
    #[arg(value_name = "SERVICE", required_unless_present = "unit")]
    service: Option<String>,
    /// Every service of this unit
    #[arg(long, value_name = "UNIT", conflicts_with = "service")]
    unit: Option<String>,
    /// Only this endpoint; the others take its requests
    #[arg(long, value_name = "ENDPOINT", requires = "service")]
    endpoint: Option<String>,
    /// How long to wait for what is in flight, such as 30s
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    limit: Duration,
    #[command(flatten)]
    place: Where,
}

/// `30s`, `1500ms`, `2m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| "write a time such as 30s".to_owned())?;
    let millis = match &text[end..] {
        "ms" => number,
        "s" => number.saturating_mul(1000),
        "m" => number.saturating_mul(60_000),
        _ => return Err("write a time such as 30s, with ms, s or m".to_owned()),
    };
    let time = Duration::from_millis(millis);
    if time > LONGEST { Err(format!("write at most {LONGEST:?}")) } else { Ok(time) }
}

pub fn hold(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let Options { service, place } = options;
    ask(place, directory, &wish(service, Gate::Hold), "hold")?;
    print(&format!("requests to {service} wait; let them go on with: hitless release {service}"))
}

pub fn release(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let Options { service, place } = options;
    let gated = ask(place, directory, &wish(service, Gate::Release), "release")?;
    print(&format!("requests to {service} go on, {} waited", gated.held))
}

pub fn drain(options: &Drain, directory: &Path) -> Result<(), Fatal> {
    let Some(wishes) = wishes(options, directory, Gate::Drain)? else { return Ok(()) };
    let mut left = 0;
    for wish in wishes {
        let Some(gated) = asked(options, directory, &wish, "drain")? else { return Ok(()) };
        let of = wish
            .endpoint
            .as_ref()
            .map_or_else(|| wish.service.clone(), |one| format!("{one} of {}", wish.service));
        match gated.done {
            true => print(&format!("drained {of}: nothing is in flight, {} wait", gated.held))?,
            false => {
                print(&format!("not drained {of} within {:?}: {} in flight", options.limit, gated.in_flight))?
            }
        }
        left += u64::from(!gated.done);
    }
    // A unit is stopped all the same.
    if left > 0 && options.unit.is_none() { Err(Fatal::new(code::REFUSED, "")) } else { Ok(()) }
}

pub fn started(options: &Drain, directory: &Path) -> Result<(), Fatal> {
    let Some(wishes) = wishes(options, directory, Gate::Started)? else { return Ok(()) };
    for wish in wishes {
        let _ = asked(options, directory, &wish, "say that it has started")?;
    }
    Ok(())
}

/// `None`: there is nobody to ask, or nothing to do, which was said.
fn wishes(options: &Drain, directory: &Path, gate: Gate) -> Result<Option<Vec<Wish>>, Fatal> {
    let limit = (gate == Gate::Drain).then_some(options.limit);
    let of = |service: &str| Wish { endpoint: options.endpoint.clone(), limit, ..wish(service, gate) };
    let Some(unit) = &options.unit else {
        return Ok(options.service.as_deref().map(|service| vec![of(service)]));
    };
    let answer = client::ask_of_another_unit(&options.place, directory, "GET /status", "drain", LIMIT);
    let status = match answer {
        Ok(answer) => serde_json::from_slice::<Status>(&answer.body).unwrap_or_default(),
        Err(error) => return absent(&error).map(|()| None),
    };
    let is_of = |service: &&crate::admin::Service| service.unit.as_ref().is_some_and(|of| of.name == *unit);
    let services: Vec<Wish> = status.services.iter().filter(is_of).map(|service| of(&service.name)).collect();
    if services.is_empty() {
        print(&format!("hitless serves nothing of {unit}: no service has unit = \"{unit}\""))?;
        return Ok(None);
    }
    Ok(Some(services))
}

fn asked(options: &Drain, directory: &Path, wish: &Wish, verb: &'static str) -> Result<Option<Gated>, Fatal> {
    let request = format!("POST /gate?{}", wish.query());
    let limit = wish.limit.unwrap_or_default() + SLACK;
    match client::ask_of_another_unit(&options.place, directory, &request, verb, limit) {
        Ok(answer) => read(&answer, verb).map(Some),
        Err(error) => absent(&error).map(|()| None),
    }
}

/// Whoever stops an application does not want to hear that it could not be drained because nobody serves it.
fn absent(error: &Error) -> Result<(), Fatal> {
    print(&format!("not drained: {error}"))
}

pub fn ask(place: &Where, directory: &Path, wish: &Wish, verb: &'static str) -> Result<Gated, Fatal> {
    let limit = wish.limit.map_or(LIMIT, |limit| limit + SLACK);
    let answer = client::ask(place, directory, &format!("POST /gate?{}", wish.query()), verb, limit)?;
    read(&answer, verb)
}

fn read(answer: &client::Answer, verb: &str) -> Result<Gated, Fatal> {
    let text = String::from_utf8_lossy(&answer.body);
    if answer.status == 404 {
        return Err(Fatal::new(code::PROTOCOL, format_args!("cannot {verb}: what runs is too old for that")));
    }
    match serde_json::from_slice::<Gated>(&answer.body) {
        Ok(Gated { refused: Some(told), .. }) => {
            Err(Fatal::new(code::REFUSED, format_args!("cannot {verb}: {told}")))
        }
        Ok(gated) => Ok(gated),
        Err(_) => Err(Fatal::new(code::UNAVAILABLE, format_args!("cannot {verb}: {}", text.trim()))),
    }
}

pub fn wish(service: &str, gate: Gate) -> Wish {
    Wish { service: service.to_owned(), gate, endpoint: None, limit: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_an_end() {
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        for wrong in ["", "30", "s", "-1s", "1h", "111s", "99999999999999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
