//! The sample application: a small real service that the demo, the tests and the load client talk to.
//!
//! `cargo run --example sample -- 127.0.0.1:3000` or `unix:/run/sample.sock`; sockets passed by
//! systemd are used beside those. Promises: ready (sd_notify) only when it accepts; SIGTERM and SIGINT
//! finish what is in flight, then it ends with 0.
//! Must not know: hitless. It is what an operator's own application would be.

#![allow(clippy::disallowed_macros, reason = "a program of its own, whose output is for people")]

mod service;
#[path = "../wire/mod.rs"]
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Parser;
use futures_util::StreamExt;
use sd_notify::NotifyState;
use service::posts::Posts;
use service::sockets::{self, Address};
use service::{App, Identity};

/// A small HTTP service for trying out a gateway: HTTP/1.1 and HTTP/2 with prior knowledge on every address.
#[derive(Parser)]
#[command(name = "sample")]
struct Arguments {
    /// Where to listen: ADDRESS:PORT or unix:/PATH
    addresses: Vec<Address>,
    /// Listen where this systemd instance name says: a number is a port of 127.0.0.1, another name
    /// is http.sock in $RUNTIME_DIRECTORY
    #[arg(long)]
    instance: Option<String>,
    /// The version that `/` and the field X-Sample-Version show
    #[arg(long, default_value = "1")]
    version_name: String,
    /// The longest that a stop waits for what is in flight, in seconds
    #[arg(long, default_value_t = 20)]
    patience: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut signals = signal_hook_tokio::Signals::new([libc::SIGTERM, libc::SIGINT])?;
    let mut addresses = arguments.addresses;
    addresses.extend(arguments.instance.as_deref().map(address_of_instance).transpose()?);
    let mut listening = sockets::from_systemd().context("cannot take the sockets from systemd")?;
    for address in &addresses {
        listening.push(sockets::bind(address).with_context(|| format!("cannot listen on '{address}'"))?);
    }
    if listening.is_empty() {
        bail!("no address to listen on: name one, such as 127.0.0.1:3000 or unix:/run/sample.sock");
    }
    let name = arguments.instance.unwrap_or_else(|| "sample".to_owned());
    let posts = match std::env::var_os("STATE_DIRECTORY") {
        Some(folder) => {
            Posts::remembered(&PathBuf::from(folder).join("posts")).context("cannot remember POSTs")?
        }
        None => Posts::default(),
    };
    let app = App::remembering(Identity { name, version: arguments.version_name }, posts);
    let serving = service::serve(listening, app, async move {
        signals.next().await;
        tell(NotifyState::Stopping);
    });
    tell(NotifyState::Ready);
    let cut = serving.within(Duration::from_secs(arguments.patience)).await;
    for address in addresses {
        sockets::remove(&address);
    }
    if cut > 0 {
        bail!("cut {cut} connections that were still open after {} s", arguments.patience);
    }
    Ok(())
}

/// One template unit serves both: `sample@3001` on TCP, `sample@blog` on a Unix socket.
fn address_of_instance(instance: &str) -> anyhow::Result<Address> {
    if let Ok(port) = instance.parse::<u16>() {
        return Ok(Address::Tcp(([127, 0, 0, 1], port).into()));
    }
    let directory = std::env::var_os("RUNTIME_DIRECTORY").with_context(|| {
        format!("instance '{instance}' is not a port, and there is no $RUNTIME_DIRECTORY")
    })?;
    Ok(Address::Unix(PathBuf::from(directory).join("http.sock")))
}

fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        eprintln!("cannot notify systemd: {error}");
    }
}
