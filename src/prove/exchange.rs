//! One request and its answer: what is sent, and what has to come back.

use std::time::Duration;

use sha2::{Digest, Sha256};

use super::connection::{Connection, Kind, Loss};
use super::tally::What;
use super::wire::pattern;

/// A request to make.
pub struct Ask {
    pub what: What,
    pub host: String,
    /// The whole head.
    pub head: String,
    pub content: Content,
    /// The status that belongs there.
    pub status: u16,
    pub proof: Proof,
    /// How long the application was asked to take.
    pub allowance: Duration,
}

/// What is sent after the head.
pub enum Content {
    None,
    Whole(Vec<u8>),
    /// Chunks of the download pattern, with a pause after each.
    Pieces {
        count: u32,
        length: usize,
        pause: Duration,
    },
}

/// What makes an answer the right one, beside its status.
pub enum Proof {
    Status,
    /// The content has this text in it.
    Text(String),
    /// The content is so many bytes of the download pattern.
    Pattern(u64),
    /// The content has the digest of what was sent in it.
    Digest,
    /// So many server-sent events, in order.
    Events(u32),
}

impl Ask {
    /// What the request line asks for.
    pub fn path(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or("/")
    }
}

/// Sends, receives, checks. Whether the connection may be used again is the connection's to say.
pub async fn exchange(connection: &mut Connection, ask: &Ask) -> Result<(), Loss> {
    // A refusal may come before everything was sent, and then counts for what it says, not for the broken pipe.
    let sent = send(connection, ask).await;
    let head = match (connection.head().await, &sent) {
        (Ok(head), _) => head,
        (Err(_), Err(loss)) => return Err(loss.clone()),
        (Err(loss), Ok(_)) => return Err(loss),
    };
    let mut evidence = Evidence::default();
    connection.content(&head, |bytes| evidence.take(&ask.proof, bytes)).await?;
    evidence.judge(ask, head.status, sent.ok().flatten().as_deref())
}

/// What has come of an answer's content.
#[derive(Default)]
pub struct Evidence {
    seen: Vec<u8>,
    length: u64,
    /// Some of it is not what the download pattern has there.
    spoilt: bool,
}

impl Evidence {
    pub fn take(&mut self, proof: &Proof, bytes: &[u8]) {
        match proof {
            Proof::Pattern(_) => self.spoilt |= !pattern::matches(self.length, bytes),
            _ => self.seen.extend_from_slice(bytes),
        }
        self.length += bytes.len() as u64;
    }

    /// Whether the whole answer is the right one. `digest` is that of what was sent.
    pub fn judge(&self, ask: &Ask, status: u16, digest: Option<&str>) -> Result<(), Loss> {
        if status != ask.status {
            let text = String::from_utf8_lossy(&self.seen[..self.seen.len().min(120)]).into_owned();
            return Err(Loss::new(Kind::BadStatus, format!("{status} {}", text.trim())));
        }
        let seen = String::from_utf8_lossy(&self.seen);
        let right = match &ask.proof {
            Proof::Status => true,
            Proof::Text(text) => seen.contains(text),
            Proof::Pattern(length) => !self.spoilt && self.length == *length,
            Proof::Digest => digest.is_some_and(|digest| seen.contains(digest)),
            Proof::Events(count) => in_order(&seen, *count),
        };
        if right {
            return Ok(());
        }
        Err(Loss::new(Kind::DigestMismatch, format!("{} bytes of other content", self.length)))
    }
}

/// Sends head and content; the digest of content in pieces, when all of it went out.
async fn send(connection: &mut Connection, ask: &Ask) -> Result<Option<String>, Loss> {
    connection.send(ask.head.as_bytes()).await?;
    let (count, length, pause) = match &ask.content {
        Content::None => return Ok(None),
        Content::Whole(bytes) => return connection.send(bytes).await.map(|()| None),
        Content::Pieces { count, length, pause } => (*count, *length, *pause),
    };
    let mut digest = Sha256::new();
    let mut offset = 0_u64;
    for _ in 0..count {
        match connection.ended() {
            None => {}
            // The kernel tells it once: whoever reads after this finds an end, not a reset.
            Some(Kind::Reset) => return Err(Loss::new(Kind::Reset, "reset while the content was sent")),
            Some(_) => return Ok(None),
        }
        let piece = pattern::from(offset, length as u64);
        let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
        chunk.extend_from_slice(piece);
        chunk.extend_from_slice(b"\r\n");
        connection.send(&chunk).await?;
        digest.update(piece);
        offset += piece.len() as u64;
        tokio::time::sleep(pause).await;
    }
    connection.send(b"0\r\n\r\n").await?;
    let digest: [u8; 32] = digest.finalize().into();
    Ok(Some(digest.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn in_order(text: &str, count: u32) -> bool {
    let ids: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("id: ")).collect();
    ids.len() == count as usize && ids.iter().enumerate().all(|(place, id)| *id == place.to_string())
}
