//! What a service says about its endpoints: how they are chosen, watched, left out, and asked again.
//!
//! Promises: as [`super`].
//! Must not know: what is done with it.

use std::fmt;
use std::time::Duration;

use super::Address;

/// One endpoint as the operator wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: Address,
    /// Its share beside the others; 0 gets no requests.
    pub weight: u32,
}

impl From<Address> for Endpoint {
    fn from(address: Address) -> Endpoint {
        Endpoint { address, weight: 1 }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.weight {
            1 => self.address.fmt(f),
            weight => write!(f, "{} weight={weight}", self.address),
        }
    }
}

/// Which endpoint a request goes to.
#[derive(Clone, Debug, PartialEq)]
pub struct Balance {
    pub way: Way,
    pub key: HashKey,
    /// The cookie that names an endpoint.
    pub sticky: Option<String>,
    /// How long the share of one that has become healthy grows.
    pub slow_start: Option<Duration>,
    /// Below so many percent that are well, all are asked; 0: never.
    pub panic: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    #[default]
    Least,
    Turns,
    Hash,
}

/// What the same endpoint is chosen by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HashKey {
    #[default]
    Address,
    /// In lower case.
    Field(String),
    Cookie(String),
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Balance {
    fn default() -> Balance {
        Balance { way: Way::Least, key: HashKey::Address, sticky: None, slow_start: None, panic: 50 }
    }
}

/// How endpoints are asked whether they are well.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    pub kind: HealthKind,
    /// Of [`HealthKind::Http`].
    pub path: String,
    /// From and to, both included.
    pub status: (u16, u16),
    /// What the body must contain.
    pub body: Option<String>,
    /// `None`: the address of each endpoint.
    pub host: Option<String>,
    pub interval: Duration,
    pub timeout: Duration,
    pub rise: u32,
    pub fall: u32,
    /// Each interval is longer or shorter by up to this share, in thousandths.
    pub jitter: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthKind {
    #[default]
    Http,
    Tcp,
    /// grpc.health.v1.
    Grpc,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Health {
    fn default() -> Health {
        Health {
            kind: HealthKind::Http,
            path: "/".into(),
            status: (200, 399),
            body: None,
            host: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            rise: 2,
            fall: 3,
            jitter: 100,
        }
    }
}

/// When a breaker opens, and how it closes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Breaker {
    /// Opens after so many failures in a row; `None`: never for that.
    pub failures: Option<u32>,
    /// Opens when failures are this share of the window, in thousandths; `None`: never for that.
    pub share: Option<u32>,
    pub volume: u32,
    pub window: Duration,
    /// How long it stays open at first, and at most.
    pub open: Duration,
    pub open_most: Duration,
    /// How many requests try a half-open one, and have to succeed.
    pub trials: u32,
    /// Whether the service as a whole has one too.
    pub service: bool,
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Breaker {
    fn default() -> Breaker {
        Breaker {
            failures: Some(5),
            share: Some(500),
            volume: 20,
            window: Duration::from_secs(10),
            open: Duration::from_secs(1),
            open_most: Duration::from_secs(30),
            trials: 3,
            service: false,
        }
    }
}

/// When a request that failed is sent again, beyond what costs nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Retry {
    /// The first one included.
    pub attempts: u32,
    pub way: RetryWay,
    pub wait: Duration,
    pub wait_most: Duration,
    /// A share of the requests, in thousandths.
    pub budget: u32,
    /// So many beside the share.
    pub floor: u32,
    pub on: RetryOn,
    /// Whether a request with an `Idempotency-Key` is taken for idempotent.
    pub idempotency_key: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryWay {
    Fixed,
    Exponential,
    #[default]
    Jitter,
}

/// What is followed by another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryOn {
    pub connect: bool,
    pub reset: bool,
    pub bad_gateway: bool,
    pub unavailable: bool,
    pub gateway_timeout: bool,
}

impl RetryOn {
    pub const NOTHING: RetryOn = RetryOn {
        connect: false,
        reset: false,
        bad_gateway: false,
        unavailable: false,
        gateway_timeout: false,
    };

    /// Whether an answer with this status is.
    pub fn status(&self, status: u16) -> bool {
        match status {
            502 => self.bad_gateway,
            503 => self.unavailable,
            504 => self.gateway_timeout,
            _ => false,
        }
    }
}

impl Retry {
    /// One attempt, and what its connection makes necessary.
    pub const NEVER: Retry = Retry {
        attempts: 1,
        way: RetryWay::Fixed,
        wait: Duration::ZERO,
        wait_most: Duration::ZERO,
        budget: 0,
        floor: 0,
        on: RetryOn::NOTHING,
        idempotency_key: false,
    };
}

/// The defaults of the table of keys, for tests of other rooms.
impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: 3,
            way: RetryWay::Jitter,
            wait: Duration::from_millis(10),
            wait_most: Duration::from_millis(250),
            budget: 200,
            floor: 10,
            on: RetryOn {
                connect: true,
                reset: true,
                bad_gateway: true,
                unavailable: true,
                gateway_timeout: true,
            },
            idempotency_key: true,
        }
    }
}
