//! Serving: accepts on every socket, speaks HTTP/1.1 or h2c on each connection, leaves when told to.
//!
//! Promises: once told to leave it accepts no more, finishes what is in flight, closes idle
//! connections, closes WebSockets with 1001, and says how many connections it had to cut.

mod answers;
pub mod posts;
pub mod sockets;
mod switches;
mod tunnel;

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use posts::Posts;
use sockets::{Socket, Wire};
use switches::Switches;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What the application says it is.
pub struct Identity {
    pub name: String,
    pub version: String,
}

/// The state that all connections share.
pub struct App {
    identity: Identity,
    posts: Posts,
    switches: Switches,
}

/// True once the application is to leave; it is gone when the last receiver is.
type Leaving = watch::Receiver<bool>;

/// An application that serves until it is told to leave.
pub struct Serving {
    connections: JoinSet<()>,
    leave: watch::Sender<bool>,
    told: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl App {
    #[allow(dead_code, reason = "tests that bring it along use only this")]
    pub fn new(identity: Identity) -> Arc<App> {
        App::remembering(identity, Posts::default())
    }

    #[allow(dead_code, reason = "only the program remembers")]
    pub fn remembering(identity: Identity, posts: Posts) -> Arc<App> {
        Arc::new(App { identity, posts, switches: Switches::default() })
    }
}

/// Accepts on every socket from now on (within a tokio runtime), until `told` to leave.
pub fn serve(
    sockets: Vec<Socket>,
    app: Arc<App>,
    told: impl Future<Output = ()> + Send + 'static,
) -> Serving {
    let (leave, leaving) = watch::channel(false);
    let mut connections = JoinSet::new();
    for socket in sockets {
        connections.spawn(accept(socket, app.clone(), leaving.clone()));
    }
    Serving { connections, leave, told: Box::pin(told) }
}

impl Serving {
    /// Serves, then leaves within `patience`; the number of connections that had to be cut.
    pub async fn within(mut self, patience: Duration) -> usize {
        (&mut self.told).await;
        self.leave.send_replace(true);
        let _ = tokio::time::timeout(patience, self.leave.closed()).await;
        let open = self.leave.receiver_count();
        self.connections.abort_all();
        open
    }
}

#[allow(clippy::disallowed_macros, reason = "an ordinary application: its stderr goes to the journal")]
async fn accept(socket: Socket, app: Arc<App>, mut leaving: Leaving) {
    loop {
        let wire = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = leaving.wait_for(|leaving| *leaving) => return,
        };
        match wire {
            Ok(wire) => drop(tokio::spawn(connection(wire, app.clone(), leaving.clone()))),
            // Out of file descriptors, most likely: nothing tells when one is free again, so look a little later.
            Err(error) => {
                eprintln!("cannot accept a connection: {error}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection(wire: Wire, app: Arc<App>, mut leaving: Leaving) {
    let sniffed = tokio::select! {
        sniffed = sockets::sniff(wire) => sniffed,
        _ = leaving.wait_for(|leaving| *leaving) => return,
    };
    let Ok((http2, wire)) = sniffed else { return };
    let inner = leaving.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answer = answers::answer(app.clone(), request, inner.clone());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    // A connection that ends with an error is the client's affair: the next request tells.
    if http2 {
        let mut connection = pin!(
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(wire), service)
        );
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    } else {
        let mut connection = pin!(
            hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(wire), service)
                .with_upgrades()
        );
        tokio::select! {
            _ = connection.as_mut() => return,
            _ = leaving.wait_for(|leaving| *leaving) => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    }
}
