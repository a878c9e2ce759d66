//! `hitless fault`: some requests of a service are delayed or failed on purpose, for a while.

use std::path::Path;
use std::time::Duration;

use super::client::{self, Where};
use super::{Fatal, code, print};
use crate::admin::{Drill, Faulty};

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("what").required(true).multiple(true).args(["delay", "abort", "clear"])))]
pub struct Options {
    /// The service
    #[arg(value_name = "SERVICE")]
    service: String,
    /// Delay requests by so much, such as 300ms
    #[arg(long, value_name = "TIME", value_parser = duration)]
    delay: Option<Duration>,
    /// Answer them with this status, from 400 to 599, after the delay
    #[arg(long, value_name = "STATUS")]
    abort: Option<u16>,
    /// How many of all requests
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    percent: f64,
    /// How long it lasts, at most 24h
    #[arg(long = "for", value_name = "TIME", default_value = "10m", value_parser = duration)]
    time: Duration,
    /// End it now
    #[arg(long, conflicts_with_all = ["delay", "abort"])]
    clear: bool,
    #[command(flatten)]
    place: Where,
}

/// The gateway itself gives up before.
const LIMIT: Duration = Duration::from_secs(15);

/// `300ms`, `5s`, `10m`, `1h`.
fn duration(text: &str) -> Result<Duration, String> {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let unit = match &text[end..] {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("write a time such as 300ms or 10m".into()),
    };
    let number: u64 = text[..end].parse().map_err(|_| "write a time such as 300ms or 10m".to_owned())?;
    Ok(Duration::from_millis(number.saturating_mul(unit)))
}

pub fn fault(options: &Options, directory: &Path) -> Result<(), Fatal> {
    let Options { service, delay, abort, percent, time, clear, .. } = options;
    let faulty = Faulty { delay: *delay, abort: *abort, percent: *percent, time: *time };
    let drill = Drill { service: service.clone(), fault: (!clear).then_some(faulty) };
    // Whatever the gateway would say to it, without asking.
    let query = drill.query();
    if let Err(why) = Drill::read(&query) {
        return Err(Fatal::new(code::USAGE, format_args!("cannot set a fault: {why}")));
    }
    if !service.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
        return Err(Fatal::new(code::USAGE, format_args!("cannot set a fault: '{service}' is no service")));
    }
    let request = format!("POST /fault?{query}");
    let answer = client::ask(&options.place, directory, &request, "set a fault", LIMIT)?;
    let text = String::from_utf8_lossy(&answer.body);
    match answer.status {
        200 => print(&text),
        403 | 422 => Err(Fatal::new(code::REFUSED, text.trim())),
        _ => Err(Fatal::new(code::UNAVAILABLE, format_args!("cannot set a fault: {}", text.trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit() {
        assert_eq!(duration("300ms"), Ok(Duration::from_millis(300)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
        for text in ["", "5", "ms", "1.5s", "-1s", "1d", "99999999999999999999s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
