//! PURE: whether an endpoint is well, by what it answers to questions.
//!
//! ```text
//!   Unknown ──the first answer──▶ Healthy ⇄ fall, rise ⇄ Unhealthy
//! ```
//! Promises: unknown is not up: an endpoint that has questions to answer gets no requests before it has answered; one
//! without questions begins healthy. One answer is not a trend: `rise` in a row make it healthy, `fall` in a row unhealthy,
//! and the first answer of an unknown one counts by itself. Every change is told once. How requests end is not seen here: that is
//! what the breaker of an endpoint is for.
//! Must not know: how it is asked.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nobody has asked it yet.
    Unknown,
    Healthy,
    Unhealthy,
}

impl State {
    /// The word for it in status and log.
    pub fn word(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Healthy => "healthy",
            State::Unhealthy => "unhealthy",
        }
    }

    pub(super) fn of(number: u8) -> State {
        match number {
            1 => State::Healthy,
            2 => State::Unhealthy,
            _ => State::Unknown,
        }
    }
}

/// How many answers of one kind in a row change its mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trend {
    pub rise: u32,
    pub fall: u32,
}

/// What asking it says.
#[derive(Clone, Debug)]
pub struct Active {
    trend: Trend,
    state: State,
    /// Answers in a row that speak against `state`.
    against: u32,
}

impl Active {
    pub fn new(trend: Trend) -> Active {
        Active { trend, state: State::Unknown, against: 0 }
    }

    /// As another gateway has seen it.
    pub fn resume(trend: Trend, state: State) -> Active {
        Active { trend, state, against: 0 }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// An answer; the new state, if it changes.
    pub fn answered(&mut self, well: bool) -> Option<State> {
        let (speaks_against, needed, next) = match (self.state, well) {
            // A good word of its first moments is believed at once, and so is a bad one.
            (State::Unknown, true) => (true, 1, State::Healthy),
            (State::Unknown, false) => (true, 1, State::Unhealthy),
            (State::Healthy, well) => (!well, self.trend.fall.max(1), State::Unhealthy),
            (State::Unhealthy, well) => (well, self.trend.rise.max(1), State::Healthy),
        };
        self.against = if speaks_against { self.against + 1 } else { 0 };
        (self.against >= needed).then(|| {
            self.against = 0;
            self.state = next;
            next
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREND: Trend = Trend { rise: 2, fall: 3 };

    #[test]
    fn one_answer_is_no_trend_but_the_first_one_is_believed() {
        let mut active = Active::new(TREND);
        assert_eq!(active.state(), State::Unknown);
        assert_eq!(active.answered(true), Some(State::Healthy));
        for well in [false, false, true, false, false] {
            assert_eq!(active.answered(well), None);
        }
        assert_eq!(active.answered(false), Some(State::Unhealthy));
        assert_eq!(active.answered(true), None);
        assert_eq!(active.answered(false), None);
        assert_eq!(active.answered(true), None);
        assert_eq!(active.answered(true), Some(State::Healthy));
        assert_eq!(Active::new(TREND).answered(false), Some(State::Unhealthy));
        assert_eq!(Active::resume(TREND, State::Healthy).answered(false), None);
    }
}
