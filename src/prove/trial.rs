//! One request before any load: whether there is anything to measure, and which answer is the right one.

use std::time::Duration;

use super::connection::{Connection, Loss};
use super::options::{Address, Tls};
use super::tls::Handshakes;

/// How the page was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    pub status: u16,
    /// Of the content.
    pub bytes: u64,
}

/// Asks once, and reads the whole answer; waits no longer than `patience`.
pub fn try_out(
    address: &Address,
    tls: Option<&Tls>,
    host: &str,
    path: &str,
    patience: Duration,
) -> Result<Trial, String> {
    let tls = tls.map(|tls| Handshakes::ready(tls, b"http/1.1")).transpose();
    let tls = tls.map_err(|error| error.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let asked = async { tokio::time::timeout(patience, ask(address, tls.as_ref(), host, path)).await };
    match runtime.block_on(asked) {
        Ok(Ok(trial)) => Ok(trial),
        Ok(Err(loss)) => Err(loss.detail),
        Err(_) => Err(format!("no whole answer within {} s", patience.as_secs())),
    }
}

async fn ask(address: &Address, tls: Option<&Handshakes>, host: &str, path: &str) -> Result<Trial, Loss> {
    let mut connection = Connection::open(address, tls, host).await?;
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: hitless-load\r\nConnection: close\r\n\r\n"
    );
    connection.send(head.as_bytes()).await?;
    let head = connection.head().await?;
    let mut bytes = 0;
    connection.content(&head, |piece| bytes += piece.len() as u64).await?;
    Ok(Trial { status: head.status, bytes })
}
