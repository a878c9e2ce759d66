//! At the end the application is asked, past the gateway, which POSTs it received and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Run;
use super::connection::Connection;
use super::options::Address;
use super::tls::Handshakes;

/// How often each id of this run was received, over all endpoints: an id sent to two of them came twice.
pub async fn received(run: &Run) -> Result<BTreeMap<String, u64>, String> {
    let mut sum = BTreeMap::new();
    if run.options.posting == 0 {
        return Ok(sum);
    }
    let through = [run.options.address.clone()];
    let direct = &run.options.posts_from;
    for address in if direct.is_empty() { &through[..] } else { &direct[..] } {
        // Endpoints speak plaintext.
        let tls = run.tls.as_ref().map(|tls| &tls.http1).filter(|_| direct.is_empty());
        let asked = tokio::time::timeout(Duration::from_secs(10), ids(run, address, tls)).await;
        let ids = asked.unwrap_or_else(|_| Err("no answer within 10 s".to_owned()));
        for (id, times) in ids.map_err(|why| format!("cannot ask '{address}' for its POSTs: {why}"))? {
            *sum.entry(id).or_default() += times;
        }
    }
    Ok(sum)
}

async fn ids(
    run: &Run,
    address: &Address,
    tls: Option<&Handshakes>,
) -> Result<BTreeMap<String, u64>, String> {
    let mut connection = Connection::open(address, tls, run.host(0)).await.map_err(|loss| loss.detail)?;
    let request = format!(
        "GET /posts?prefix={}- HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        run.name,
        run.host(0)
    );
    connection.send(request.as_bytes()).await.map_err(|loss| loss.detail)?;
    let head = connection.head().await.map_err(|loss| loss.detail)?;
    let mut content = Vec::new();
    let whole = connection.content(&head, |bytes| content.extend_from_slice(bytes)).await;
    whole.map_err(|loss| loss.detail)?;
    if head.status != 200 {
        return Err(format!("status {}", head.status));
    }
    let answer: serde_json::Value = serde_json::from_slice(&content).map_err(|error| error.to_string())?;
    serde_json::from_value(answer["ids"].clone()).map_err(|error| error.to_string())
}
