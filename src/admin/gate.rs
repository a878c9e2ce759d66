//! What is asked of the gate of a service, and what came of it.
//!
//! Promises: fields are only ever added, see [`super::status`].
//! Must not know: how a gate is closed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `POST /gate?gate=…&service=…`, with `endpoint` and `limit-ms` for a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub service: String,
    pub gate: Gate,
    pub endpoint: Option<String>,
    pub limit: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Hold,
    Release,
    Drain,
    /// What was drained has started again.
    Started,
}

impl Gate {
    pub const ALL: [Gate; 4] = [Gate::Hold, Gate::Release, Gate::Drain, Gate::Started];

    /// Its word in the query.
    pub fn word(self) -> &'static str {
        match self {
            Gate::Hold => "hold",
            Gate::Release => "release",
            Gate::Drain => "drain",
            Gate::Started => "started",
        }
    }
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gated {
    /// Of a drain: nothing is in flight any more.
    pub done: bool,
    /// Requests that wait.
    pub held: u64,
    /// Requests and tunnels that go on.
    pub in_flight: u64,
    /// Why nothing was done.
    pub refused: Option<String>,
}

impl Gated {
    pub fn refused(told: String) -> Gated {
        Gated { refused: Some(told), ..Gated::default() }
    }
}

impl Wish {
    /// The query of the request.
    pub fn query(&self) -> String {
        let mut query = format!("gate={}&service={}", self.gate.word(), escaped(&self.service));
        if let Some(endpoint) = &self.endpoint {
            query.push_str(&format!("&endpoint={}", escaped(endpoint)));
        }
        if let Some(limit) = self.limit {
            query.push_str(&format!("&limit-ms={}", limit.as_millis()));
        }
        query
    }

    /// `None`: it is not one.
    pub fn read(query: &str) -> Option<Wish> {
        let value = |name: &str| {
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(found, _)| *found == name).and_then(|(_, value)| unescaped(value))
        };
        let word = value("gate")?;
        Some(Wish {
            service: value("service")?,
            gate: Gate::ALL.into_iter().find(|gate| gate.word() == word)?,
            endpoint: value("endpoint"),
            limit: value("limit-ms").and_then(|limit| limit.parse().ok()).map(Duration::from_millis),
        })
    }
}

fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:/".contains(&byte);
    let one = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(one).collect()
}

fn unescaped(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, others)) = rest.split_first() {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wish_is_read_as_it_was_written() {
        for endpoint in [None, Some("[::1]:3000"), Some("unix:/run/a b/100%.sock"), Some("a&b=c")] {
            for gate in Gate::ALL {
                let limit = endpoint.map(|_| Duration::from_millis(1500));
                let endpoint = endpoint.map(str::to_owned);
                let wish = Wish { service: "shop-1.x_y".into(), gate, endpoint, limit };
                assert_eq!(Wish::read(&wish.query()), Some(wish));
            }
        }
        for broken in
            ["", "gate=hold", "gate=open&service=x", "gate=hold&service=%F", "gate=hold&service=%FF"]
        {
            assert_eq!(Wish::read(broken), None, "{broken}");
        }
    }
}
