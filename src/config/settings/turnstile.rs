//! How many requests a service takes, and how many at a time.
//!
//! Promises: as all settings: checked, with their defaults, plain data.
//! Must not know: who counts.

use std::num::NonZeroU32;
use std::time::Duration;

/// So many in so much time, and so many at once.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    pub count: NonZeroU32,
    /// Never 0.
    pub per: Duration,
    /// How many may come at once after a quiet time.
    pub burst: NonZeroU32,
    pub by: RateBy,
}

/// Whose requests are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RateBy {
    /// All of the service, or of the route.
    All,
    /// Those of one client address; of IPv6 those of one /64.
    Address,
    /// Those with one value in the field of this name, in lower case; without it those of one address.
    Field(String),
}

impl RateBy {
    /// The word for it in logs and to clients, who are not told names of fields.
    pub fn word(&self) -> &'static str {
        match self {
            RateBy::All => "all",
            RateBy::Address => "address",
            RateBy::Field(_) => "field",
        }
    }
}

/// What is answered when no endpoint can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    pub status: u16,
    pub content_type: String,
    pub body: String,
}

/// How many requests of a service may be with its application at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concurrency {
    /// `None`: no limit, or with `adaptive` the one that is found.
    pub most: Option<u32>,
    /// The same for each of its endpoints.
    pub per_endpoint: Option<u32>,
    /// How many may wait for a place.
    pub queue: u32,
    /// And how long.
    pub queue_time: Duration,
    /// Whether the limit is found out from how long requests take.
    pub adaptive: bool,
    /// The field, in lower case, that says how urgent a request is.
    pub priority: Option<String>,
}

impl Concurrency {
    /// Whether requests need a place.
    pub fn is_limited(&self) -> bool {
        self.most.is_some() || self.adaptive
    }
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Concurrency {
    fn default() -> Concurrency {
        Concurrency {
            most: None,
            per_endpoint: None,
            queue: 100,
            queue_time: Duration::from_secs(1),
            adaptive: false,
            priority: None,
        }
    }
}
