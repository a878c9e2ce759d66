//! How many requests a service can bear at a time, found out from how long they take.
//!
//! While more at a time does not make requests slower, there may be more; when it does, they only wait in the
//! application, and there should be fewer. As in Envoy's adaptive concurrency filter (its "gradient controller") and
//! Netflix' concurrency-limits ("gradient2"):
//! ```text
//!   gradient = tolerated × usual latency / latency of the last window     0.5 ..= 1
//!   limit    = limit × gradient + room to grow (√limit), half of the way down
//! ```
//! Everything depends on the usual latency, that of an application in which nobody waits. It is learnt from windows in which the
//! limit was far from being reached; and when it always is, by a probe: the limit is halved for a moment, and as long as that makes
//! requests faster once more. Envoy lowers it to 3 at once; halving costs less where many go at a time, and does not
//! let everybody wait for one that is slow.
//! ```text
//!   steady ──full, and it is time──▶ probe: limit / 2 ──faster──▶ limit / 2 …
//!     ▲                                 │ not faster: the limit before, this latency is usual
//!     └─────────────────────────────────┘
//! ```
//! A limit that has come down to a half without making requests faster was no help either: the application has become slower,
//! which is usual from then on. So a change of what it can bear is noticed without waiting for the next probe.
//!
//! Promises: stays within `least ..= most`; is not raised while it is not reached; a few slow requests move nothing (the
//! middle half of a window counts). Probes take a sixth of the time
//! at most, most of it with enough room.
//! Must not know: what takes the time, clocks (times are given).

use std::time::Duration;

/// From the configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    pub least: u32,
    pub most: u32,
    pub initial: u32,
}

/// How much slower than usual is still as usual.
const TOLERATED: f64 = 1.3;
/// A latency that is lower by less than this is the same.
const FASTER: f64 = 0.8;
/// Requests in a window.
const WINDOW: (f64, f64) = (50.0, 500.0);
/// In one step of a probe, at least: what it finds holds for long.
const STEP: f64 = 100.0;
/// Between two probes, at least; and so many times what the last one took.
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBE_SHARE: u32 = 5;
/// How fast the usual latency follows when nothing is the matter.
const LEARNING: f64 = 0.2;
/// Of a window, that may be lost before that is a sign.
const LOST: f64 = 0.05;

/// One request that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// Since an epoch that is the same for all.
    pub now: Duration,
    /// From its place to the head of its answer; of one that was lost, to the end.
    pub took: Duration,
    /// To overload, as far as anybody can tell: it ran into a deadline, or the application said 503.
    pub lost: bool,
    /// How many were inside, itself included.
    pub inside: u32,
    /// Whether somebody has found no room since the sample before.
    pub full: bool,
}

#[derive(Clone, Debug)]
pub struct Adaptive {
    rules: Rules,
    limit: f64,
    /// Seconds.
    usual: Option<f64>,
    window: Window,
    probe: Option<Probe>,
    next_probe: Duration,
    /// Limit and latency from which it has come down, as far as that has made requests faster.
    top: Option<(f64, f64)>,
}

#[derive(Clone, Debug, Default)]
struct Window {
    latencies: Vec<f64>,
    lost: u32,
    /// The most that were inside.
    peak: u32,
    full: bool,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    began: Duration,
    /// Limit and latency before this step; the first step is one at the limit as it is, to know that.
    before: Option<(f64, f64)>,
    /// How many more have to end before this step is looked at.
    passing: u32,
}

impl Adaptive {
    pub fn new(rules: Rules) -> Adaptive {
        let mut adaptive = Adaptive {
            rules,
            limit: 0.0,
            usual: None,
            window: Window::default(),
            probe: None,
            next_probe: Duration::ZERO,
            top: None,
        };
        adaptive.set(f64::from(rules.initial));
        adaptive
    }

    pub fn limit(&self) -> u32 {
        self.limit as u32
    }

    /// Bounds that a reload has changed.
    pub fn bound(&mut self, rules: Rules) {
        self.rules = rules;
        self.set(self.limit);
    }

    /// One is over; [`Adaptive::limit`] may be another one now.
    pub fn ended(&mut self, sample: Sample) {
        self.window.full |= sample.full;
        self.window.peak = self.window.peak.max(sample.inside);
        let limit = self.limit();
        if let Some(probe) = &mut self.probe
            && probe.passing > 0
        {
            // Those that began among more than this step allows: by the time that so many have ended since there were
            // no more, nearly all of them have.
            let is_settled = sample.inside <= limit || probe.passing <= limit;
            probe.passing -= u32::from(is_settled);
            return;
        }
        match sample.lost {
            true => self.window.lost += 1,
            false => self.window.latencies.push(sample.took.as_secs_f64()),
        }
        let seen = self.window.latencies.len() + self.window.lost as usize;
        let least = if self.probe.is_some() { STEP } else { WINDOW.0 };
        if seen as f64 >= self.limit.clamp(least, WINDOW.1) {
            let window = std::mem::take(&mut self.window);
            self.look(window, sample.now);
        }
    }

    fn look(&mut self, window: Window, now: Duration) {
        let seen = window.latencies.len() as f64 + f64::from(window.lost);
        let (full, peak) = (window.full, f64::from(window.peak));
        if f64::from(window.lost) > LOST * seen {
            self.probe = None;
            return self.set(self.limit * 0.9);
        }
        let latency = middle(window.latencies).max(1e-9);
        if let Some(probe) = self.probe {
            return self.probed(probe, latency, now);
        }
        let usual = self.usual.get_or_insert(latency);
        if peak < self.limit / 2.0 {
            // Nobody waits anywhere: this is what is usual.
            *usual += (latency - *usual) * LEARNING;
            return;
        }
        if full && now >= self.next_probe {
            self.top = None;
            self.probe = Some(Probe { began: now, before: None, passing: self.limit() + 1 });
            return;
        }
        let gradient = (TOLERATED * *usual / latency).clamp(0.5, 1.0);
        let before = self.limit;
        let next = before * gradient + before.sqrt();
        if gradient >= 1.0 && full {
            self.set(next);
        } else if next <= before || full {
            self.set(before + (next - before) / 2.0);
        }
        self.come_down(before, gradient, latency);
    }

    /// Whether having come down has been of use.
    fn come_down(&mut self, before: f64, gradient: f64, latency: f64) {
        if gradient >= 1.0 {
            self.top = None;
            return;
        }
        let top = *self.top.get_or_insert((before, latency));
        if self.limit > top.0 / 2.0 {
            return;
        }
        if latency < FASTER * top.1 {
            self.top = Some((self.limit, latency));
        } else {
            self.usual = Some(latency);
            self.top = None;
            self.set(top.0);
        }
    }

    /// A step of a probe is over, with this latency.
    fn probed(&mut self, probe: Probe, latency: f64, now: Duration) {
        self.probe = None;
        let here = self.limit;
        match probe.before {
            Some((limit, before)) if latency >= FASTER * before => {
                self.usual = Some(latency.min(before));
                self.set(limit);
            }
            _ => {
                self.set(here / 2.0);
                if self.limit() < here as u32 {
                    let passing = self.limit() + 1;
                    self.probe = Some(Probe { before: Some((here, latency)), passing, ..probe });
                    return;
                }
                // There is no less: nobody waits in the application, unless it can bear nothing at all.
                self.usual = Some(latency);
                self.set(here);
            }
        }
        self.next_probe = now + PROBE_EVERY.max((now - probe.began) * PROBE_SHARE);
    }

    fn set(&mut self, limit: f64) {
        let least = f64::from(self.rules.least.max(1));
        self.limit = limit.clamp(least, f64::from(self.rules.most).max(least));
    }
}

/// The mean of the middle half.
fn middle(mut latencies: Vec<f64>) -> f64 {
    latencies.sort_by(f64::total_cmp);
    let quarter = latencies.len() / 4;
    let middle = &latencies[quarter..latencies.len() - quarter];
    middle.iter().sum::<f64>() / middle.len().max(1) as f64
}

#[cfg(test)]
mod tests;
