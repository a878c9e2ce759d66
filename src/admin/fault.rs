//! What `POST /fault` asks for: `service=shop&delay=300&abort=503&percent=5&for=600000`, times in milliseconds, or
//! `service=shop&clear=1`.
//!
//! Promises: what is read is within its bounds, and always ends.
//! Must not know: what is done with it.

use std::time::Duration;

/// The longest that a fault may last, and each of its delays.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// Faults for a service, on purpose.
#[derive(Clone, Debug, PartialEq)]
pub struct Drill {
    pub service: String,
    /// `None`: no more.
    pub fault: Option<Faulty>,
}

/// At least one of delay and abort.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Faulty {
    pub delay: Option<Duration>,
    /// 400 to 599.
    pub abort: Option<u16>,
    /// Of the requests, above 0 up to 100.
    pub percent: f64,
    pub time: Duration,
}

impl Drill {
    /// What a query asks for, or why that cannot be.
    pub fn read(query: &str) -> Result<Drill, &'static str> {
        let mut service = None;
        let (mut delay, mut abort, mut percent, mut time, mut clear) = (None, None, None, None, false);
        let millis = |text: &str| text.parse().ok().map(Duration::from_millis).ok_or("a time is no number");
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match name {
                "service" => service = Some(value.to_owned()),
                "delay" => delay = Some(millis(value)?),
                "abort" => abort = Some(value.parse().map_err(|_| "the status is no number")?),
                "percent" => percent = Some(value.parse().map_err(|_| "the percentage is no number")?),
                "for" => time = Some(millis(value)?),
                "clear" => clear = true,
                _ => return Err("there are service, delay, abort, percent, for and clear"),
            }
        }
        let service = service.ok_or("no service is named")?;
        if clear {
            return Ok(Drill { service, fault: None });
        }
        let faulty = Faulty {
            delay,
            abort,
            percent: percent.unwrap_or(100.0),
            time: time.unwrap_or(Duration::from_secs(600)),
        };
        faulty.check()?;
        Ok(Drill { service, fault: Some(faulty) })
    }

    /// As `read` reads it.
    pub fn query(&self) -> String {
        let mut query = format!("service={}", self.service);
        let Some(Faulty { delay, abort, percent, time }) = &self.fault else { return query + "&clear=1" };
        if let Some(delay) = delay {
            query.push_str(&format!("&delay={}", delay.as_millis()));
        }
        if let Some(abort) = abort {
            query.push_str(&format!("&abort={abort}"));
        }
        query + &format!("&percent={percent}&for={}", time.as_millis())
    }
}

impl Faulty {
    fn check(&self) -> Result<(), &'static str> {
        let Faulty { delay, abort, percent, time } = *self;
        if delay.is_none() && abort.is_none() {
            return Err("there is neither a delay nor an abort");
        }
        if delay.is_some_and(|delay| delay.is_zero() || delay > LONGEST_DELAY) {
            return Err("a delay is from 1ms to 1h");
        }
        if abort.is_some_and(|status| !(400..600).contains(&status)) {
            return Err("an abort is from 400 to 599");
        }
        if !(percent > 0.0 && percent <= 100.0) {
            return Err("a percentage is above 0 and up to 100");
        }
        if time.is_zero() || time > LONGEST {
            return Err("a fault lasts from 1ms to 24h");
        }
        Ok(())
    }
}

/// In words, for the log and for people.
impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Faulty { delay, abort, percent, .. } = self;
        write!(f, "{percent} % of requests are ")?;
        match (delay, abort) {
            (Some(delay), Some(abort)) => write!(f, "delayed by {delay:?} and failed with {abort}"),
            (Some(delay), None) => write!(f, "delayed by {delay:?}"),
            (None, Some(abort)) => write!(f, "failed with {abort}"),
            (None, None) => f.write_str("left alone"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_is_read_as_it_is_written() {
        let ms = Duration::from_millis;
        for fault in [
            None,
            Some(Faulty { delay: Some(ms(300)), abort: Some(503), percent: 5.0, time: ms(600_000) }),
            Some(Faulty { delay: None, abort: Some(500), percent: 0.5, time: LONGEST }),
            Some(Faulty { delay: Some(ms(1)), abort: None, percent: 100.0, time: ms(1) }),
        ] {
            let drill = Drill { service: "shop".into(), fault };
            assert_eq!(Drill::read(&drill.query()), Ok(drill));
        }
        let usual = Drill::read("service=shop&abort=503").unwrap().fault.unwrap();
        assert_eq!((usual.percent, usual.time), (100.0, ms(600_000)));
    }

    #[test]
    fn what_would_not_end_or_do_nothing_is_refused() {
        for query in [
            "",
            "service=shop",
            "abort=503",
            "service=shop&abort=200",
            "service=shop&abort=600",
            "service=shop&abort=x",
            "service=shop&delay=0",
            "service=shop&delay=3600001",
            "service=shop&delay=-1",
            "service=shop&abort=503&percent=0",
            "service=shop&abort=503&percent=101",
            "service=shop&abort=503&percent=nan",
            "service=shop&abort=503&for=0",
            "service=shop&abort=503&for=86400001",
            "service=shop&abort=503&more=1",
        ] {
            assert!(Drill::read(query).is_err(), "{query}");
        }
    }
}
